//! When a certificate ends. Bytes from a file: bounded, and what isn't understood is an error.
//!
//! Not here: whether it can be trusted; that is asked where connections are made.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Tags of DER that are met on the way (X.690, RFC 5280 4.1).
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Why the end of a certificate can't be told.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// No PEM, or none of a certificate.
    #[error("it holds no certificate")]
    NoCertificate,
    /// Not as RFC 5280 says.
    #[error("{0} of a certificate in it can't be read")]
    Unreadable(&'static str),
}

/// The earliest end of the certificates in a PEM file: of a chain, the first that ends breaks it.
///
/// # Errors
/// When there is none, or one of them isn't understood.
pub fn ends_at(pem: &[u8]) -> Result<Timestamp, CertificateError> {
    let mut earliest: Option<Timestamp> = None;
    for found in CertificateDer::pem_slice_iter(pem) {
        let end = end_of(&found.map_err(|_| CertificateError::NoCertificate)?)?;
        earliest = Some(earliest.map_or(end, |known| known.min(end)));
    }
    earliest.ok_or(CertificateError::NoCertificate)
}

/// Of one in DER: certificate → tbsCertificate → past version, serial number, signature, issuer → validity → its second time.
///
/// # Errors
/// When it isn't understood.
pub fn end_of(der: &[u8]) -> Result<Timestamp, CertificateError> {
    let unreadable = |what| move || CertificateError::Unreadable(what);
    let (_, certificate, _) = element(der, Some(SEQUENCE)).ok_or_else(unreadable("the beginning"))?;
    let (_, mut rest, _) = element(certificate, Some(SEQUENCE)).ok_or_else(unreadable("the content"))?;
    let before = if rest.first() == Some(&VERSION) { 4 } else { 3 };
    for _ in 0..before {
        (_, _, rest) = element(rest, None).ok_or_else(unreadable("the issuer"))?;
    }
    let (_, validity, _) = element(rest, Some(SEQUENCE)).ok_or_else(unreadable("the validity"))?;
    let (_, _, rest) = element(validity, None).ok_or_else(unreadable("the beginning of the validity"))?;
    let (tag, time, _) = element(rest, None).ok_or_else(unreadable("the end of the validity"))?;
    read_time(tag, time).ok_or_else(unreadable("the end of the validity"))
}

/// Tag, content and what follows. None: it isn't there, or longer than what is left.
fn element(bytes: &[u8], expected: Option<u8>) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        // So many bytes of length follow; four are more than any certificate has.
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0_usize, |length, digit| (length << 8) | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    expected.is_none_or(|expected| expected == *tag).then_some((*tag, content, rest))
}

/// `YYMMDDHHMMSSZ` until 2049, `YYYYMMDDHHMMSSZ` from then on.
fn read_time(tag: u8, content: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let text = match (tag, text.len()) {
        (UTC_TIME, 12) => format!("{}{text}", if text < "50" { "20" } else { "19" }),
        (GENERALIZED_TIME, 14) => text.to_owned(),
        _ => return None,
    };
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i8>().ok();
    let year = text.get(0..4)?.parse::<i16>().ok()?;
    let at = DateTime::new(year, number(4, 6)?, number(6, 8)?, number(8, 10)?, number(10, 12)?, number(12, 14)?, 0);
    at.ok()?.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by OpenSSL.
    const PEM: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBmDCCAT+gAwIBAgIUeV4KlmRbi0fIqoEgFIKnIi6z1JwwCgYIKoZIzj0EAwIw\n\
        IjERMA8GA1UECgwITGlmZWJvYXQxDTALBgNVBAMMBHRlc3QwHhcNMjYxMTIyMjIy\n\
        NTU0WhcNMzYxMTE5MjIyNTU0WjAiMREwDwYDVQQKDAhMaWZlYm9hdDENMAsGA1UE\n\
        AwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABDEqhMsu0Lsj+bkwcj2W\n\
        97LA3VUzzQL/JaXaTlVROEKoPh3YFQWtQY4ZnJe6hbaGpaXMMTNnkXWtZQ3+dWs0\n\
        BQujUzBRMB0GA1UdDgQWBBQL8uoxibKCrVjKR2La8YvjTNak1DAfBgNVHSMEGDAW\n\
        gBQL8uoxibKCrVjKR2La8YvjTNak1DAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49\n\
        BAMCA0cAMEQCIQDsUt37w9J3ia9uxlG9UPSrPdEnEFeqyKLA2MrHv+IP2gIfca7C\n\
        iJh7M7o4vXcC/pySnjrH9gGgFpetPNmB1dfIgA==\n\
        -----END CERTIFICATE-----\n";

    #[test]
    fn the_end_of_a_real_one() {
        let end: Timestamp = "2036-11-19T22:25:54Z".parse().unwrap();
        assert_eq!(ends_at(PEM.as_bytes()).unwrap(), end);
        let chain = PEM.repeat(2);
        assert_eq!(ends_at(chain.as_bytes()).unwrap(), end);
        assert!(matches!(ends_at(b"nothing"), Err(CertificateError::NoCertificate)));
        let der = CertificateDer::from_pem_slice(PEM.as_bytes()).unwrap();
        for length in 0..der.len() {
            assert!(end_of(&der[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn both_forms_of_time() {
        for (tag, text, expected) in [
            (UTC_TIME, "261122120000Z", Some("2026-11-22T12:00:00Z")),
            (UTC_TIME, "500101000000Z", Some("1950-01-01T00:00:00Z")),
            (GENERALIZED_TIME, "20620101000000Z", Some("2062-01-01T00:00:00Z")),
            (UTC_TIME, "20261122120000Z", None),
            (UTC_TIME, "261322120000Z", None),
            (UTC_TIME, "26112212000+Z", None),
            (0x02, "261122120000Z", None),
        ] {
            let found = read_time(tag, text.as_bytes());
            assert_eq!(found, expected.map(|text| text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn lengths_that_lie_are_no_element() {
        for bytes in [&[][..], &[0x30], &[0x30, 2, 1], &[0x30, 0x82, 1], &[0x30, 0x85, 0, 0, 0, 0, 1], &[0x30, 0x80]] {
            assert!(element(bytes, None).is_none(), "{bytes:?}");
        }
        assert_eq!(element(&[0x30, 0x81, 1, 7, 9], Some(SEQUENCE)), Some((0x30, &[7][..], &[9][..])));
        assert!(element(&[0x31, 0], Some(SEQUENCE)).is_none());
    }
}
