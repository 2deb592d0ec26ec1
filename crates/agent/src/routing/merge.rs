//! What several agents say, made one: whom clients are sent to.
//!
//! Promise: whatever is heard, in whatever order, the epoch never goes back, and within an epoch the primary is one member or nobody.
//! An epoch has one holder for ever, so a second name in it is a lie or a fault, and isn't followed.

use super::RouteTable;
use lifeboat_failover::MemberName;

/// What became of a table that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The merged table is another one now.
    Changed,
    /// It says nothing new.
    Same,
    /// It is of an older epoch: an agent that was cut off.
    Older,
    /// It is of another cluster, or names a second primary in an epoch: not believed.
    Refused,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Merge {
    table: RouteTable,
    /// Who the primary of the table's epoch is, also while it takes nobody.
    holder: Option<MemberName>,
    /// The holder's own agent has spoken in this epoch: only it knows whether it takes clients.
    by_itself: bool,
}

impl Merge {
    /// Nothing is known yet.
    pub fn new(cluster: &str) -> Self {
        let nobody = MemberName::from("nobody");
        Self { table: RouteTable::nowhere(cluster, nobody), holder: None, by_itself: false }
    }

    /// What is known. Its version grows with every change here, whatever the agents' versions are.
    pub fn table(&self) -> &RouteTable {
        &self.table
    }

    /// Takes in what an agent says. What one agent says must come in the order in which it said it.
    pub fn hear(&mut self, said: &RouteTable) -> Heard {
        if said.cluster != self.table.cluster {
            return Heard::Refused;
        }
        if said.epoch < self.table.epoch {
            return Heard::Older;
        }
        let before = self.table.clone();
        if said.epoch > self.table.epoch {
            (self.holder, self.by_itself) = (None, false);
            self.table = RouteTable { version: before.version, ..said.clone() };
        }
        let named = said.primary.as_ref().map(|primary| &primary.name);
        match (&self.holder, named) {
            (Some(holder), Some(named)) if holder != named => return Heard::Refused,
            (None, Some(named)) => {
                self.holder = Some(named.clone());
                self.take(said);
            }
            (None, None) => self.take(said),
            (Some(holder), _) if *holder == said.by => self.take(said),
            // Another than the holder: it doesn't know better than the holder itself, and that it knows of no primary yet says nothing.
            (Some(_), Some(_)) if !self.by_itself => self.take(said),
            (Some(_), _) => {}
        }
        self.by_itself |= self.holder.as_ref() == Some(&said.by);
        if same_apart_from_version(&before, &self.table) {
            return Heard::Same;
        }
        self.table.version = before.version + 1;
        Heard::Changed
    }

    fn take(&mut self, said: &RouteTable) {
        self.table.primary.clone_from(&said.primary);
        self.table.standbys.clone_from(&said.standbys);
        self.table.by.clone_from(&said.by);
    }
}

fn same_apart_from_version(one: &RouteTable, other: &RouteTable) -> bool {
    (one.epoch, &one.primary, &one.standbys) == (other.epoch, &other.primary, &other.standbys)
}

#[cfg(test)]
mod tests {
    use super::super::Endpoint;
    use super::*;
    use lifeboat_failover::Epoch;
    use proptest::prelude::*;

    fn said(by: &str, epoch: u64, primary: Option<&str>) -> RouteTable {
        let primary = primary.map(|name| Endpoint { name: name.into(), host: name.into(), port: 5432 });
        RouteTable { epoch: Epoch(epoch), primary, ..RouteTable::nowhere("shop", by.into()) }
    }

    fn to(merge: &Merge) -> (u64, Option<&str>) {
        let table = merge.table();
        (table.epoch.0, table.primary.as_ref().map(|primary| primary.name.as_str()))
    }

    #[test]
    fn the_newest_epoch_wins_and_its_holder_knows_best() {
        use Heard::*;
        let mut merge = Merge::new("shop");
        for (by, epoch, primary, heard, expected) in [
            ("b", 1, Some("a"), Changed, (1, Some("a"))),
            ("a", 1, Some("a"), Same, (1, Some("a"))),
            // That another sees no primary says nothing; that the primary takes nobody does.
            ("b", 1, None, Same, (1, Some("a"))),
            ("a", 1, None, Changed, (1, None)),
            ("b", 1, Some("a"), Same, (1, None)),
            ("b", 2, None, Changed, (2, None)),
            ("a", 1, Some("a"), Older, (2, None)),
            ("c", 2, Some("b"), Changed, (2, Some("b"))),
            ("a", 2, Some("a"), Refused, (2, Some("b"))),
            ("b", 3, Some("b"), Changed, (3, Some("b"))),
            ("a", 5, None, Changed, (5, None)),
            ("c", 4, Some("c"), Older, (5, None)),
        ] {
            assert_eq!(merge.hear(&said(by, epoch, primary)), heard, "{by} {epoch} {primary:?}");
            assert_eq!(to(&merge), expected, "{by} {epoch} {primary:?}");
        }
        let foreign = RouteTable { cluster: "other".into(), ..said("a", 9, Some("a")) };
        assert_eq!(merge.hear(&foreign), Refused);
        assert_eq!(to(&merge), (5, None));
    }

    #[test]
    fn standbys_are_those_that_the_primary_tells_of() {
        let mut merge = Merge::new("shop");
        merge.hear(&said("a", 1, Some("a")));
        let mut with_standby = said("b", 1, Some("a"));
        let endpoint = Endpoint { name: "b".into(), host: "b".into(), port: 5432 };
        let standby =
            super::super::StandbyEndpoint { endpoint, lag_bytes: 0, lag: std::time::Duration::ZERO, streaming: true };
        with_standby.standbys.push(standby);
        assert_eq!(merge.hear(&with_standby), Heard::Same);
        with_standby.by = "a".into();
        assert_eq!(merge.hear(&with_standby), Heard::Changed);
        assert_eq!(merge.table().standbys.len(), 1);
        assert_eq!(merge.table().version, 2);
    }

    proptest! {
        /// Anything, in any order, also what no agent of ours would say.
        #[test]
        fn it_never_goes_back(tables in prop::collection::vec((0..3u8, 0..6u64, prop::option::of(0..3u8)), 0..60)) {
            let names = ["a", "b", "c"];
            let mut merge = Merge::new("shop");
            let (mut before, mut holder): ((u64, Option<String>), Option<String>) = ((0, None), None);
            let mut last_of_holder = None;
            for (by, epoch, primary) in &tables {
                let (by, primary) = (names[*by as usize], primary.map(|primary| names[primary as usize]));
                merge.hear(&said(by, *epoch, primary));
                let (epoch_now, primary_now) = to(&merge);
                prop_assert!(epoch_now >= before.0, "the epoch went back");
                if epoch_now > before.0 {
                    (holder, last_of_holder) = (None, None);
                }
                if let (Some(holder), Some(primary)) = (&holder, primary_now) {
                    prop_assert_eq!(holder, primary, "two primaries in an epoch");
                }
                holder = holder.or(primary_now.map(str::to_owned));
                if *epoch == epoch_now && holder.as_deref() == Some(by) && primary.is_none_or(|primary| primary == by) {
                    last_of_holder = Some(primary.is_some());
                }
                if let Some(takes_clients) = last_of_holder {
                    prop_assert_eq!(primary_now.is_some(), takes_clients, "the primary's own word is what holds");
                }
                before = (epoch_now, primary_now.map(str::to_owned));
            }
            prop_assert_eq!(before.0, tables.iter().map(|(_, epoch, _)| *epoch).max().unwrap_or(0));
        }
    }
}
