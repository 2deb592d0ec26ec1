//! Yes or no, for load balancers.

use super::Status;

/// Whether writes go here. The agent holds the lease now, and its database is a primary.
pub fn is_primary(status: &Status) -> bool {
    status.state == "primary"
        && status.database == "running"
        && status.holds_for_milliseconds.is_some_and(|left| left > 0)
}

/// Whether reads may go here: a standby that receives from the primary, at most so many bytes behind what it has received.
pub fn is_replica(status: &Status, lag_bytes_max: Option<u64>) -> bool {
    let behind = status.position.zip(status.replayed).map(|(position, replayed)| position.saturating_sub(replayed));
    let close = lag_bytes_max.is_none_or(|most| behind.is_some_and(|behind| behind <= most));
    status.state == "standby" && status.database == "running" && status.receives_from.is_some() && close
}

/// `?lag=16MiB`, in bytes or with a unit of 1024.
pub fn lag_of(query: &str) -> Result<Option<u64>, String> {
    let Some(value) = query.split('&').find_map(|pair| pair.strip_prefix("lag=")) else { return Ok(None) };
    let digits = value.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &value[digits.len()..] {
        "" | "B" => 0,
        "kB" | "KiB" => 10,
        "MB" | "MiB" => 20,
        "GB" | "GiB" => 30,
        other => return Err(format!("{other:?} is no unit: kB, MB or GB")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{value:?} is no size"))?;
    Ok(Some(number.checked_mul(1 << unit).ok_or("that is too much")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (query, bytes) in
            [("", None), ("lag=100", Some(100)), ("a=b&lag=16MB", Some(16 << 20)), ("lag=1GiB", Some(1 << 30))]
        {
            assert_eq!(lag_of(query), Ok(bytes), "{query}");
        }
        for query in ["lag=", "lag=x", "lag=-1", "lag=1TB", "lag=99999999999GB"] {
            lag_of(query).expect_err(query);
        }
    }
}
