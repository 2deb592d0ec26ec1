//! What the log says of one table: which transactions dropped it, emptied it, deleted from it. Pure: records go in.
//!
//! A table is known by its name only in `pg_class`, and `pg_class` is followed as the log changes it. So its entries have their
//! names at every moment, tables that were written anew are followed to their new files, and one that came after the last recovery
//! point is known, too.
//!
//! What a transaction did counts when it commits, and with it what its subtransactions did, which log under numbers of their own: the
//! record of the commit lists them. Of a file that goes at a commit it is asked what became of the entry: deleted, the table was
//! dropped; given another file, it was truncated, or written anew when a `pg_temp_<oid>` came and went meanwhile.
//!
//! Not here: reading the log and the points.

use super::database::{Database, Known};
use super::name::{TableName, WantedTable, is_table};
use jiff::Timestamp;
use lifeboat_postgres::catalog::{ClassRow, DatabaseRow, RowEvent, StoredRow, TrackedTable};
use lifeboat_postgres::layout::Place;
use lifeboat_postgres::wal::{
    ClusterChange, Contents, InflateZstandard, Outcome, Record, RelationLocator, ResourceManager, RowChange,
    TransactionEnd, TransactionLists,
};
use lifeboat_postgres::{Lsn, MajorVersion, TimelineId};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Findings of transactions that came to nothing are for want of better ones: the last few are enough.
const ABORTED_MAX: usize = 20;

/// Of a table from which every transaction deletes, only the largest deletions are kept: it is a mishap that is looked for.
const FINDINGS_MAX: usize = 10_000;

/// What was done to a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Deed {
    /// It was dropped.
    Dropped,
    /// Its whole database was.
    DroppedWithDatabase,
    /// Its file went, and why can't be told: dropped, truncated or written anew.
    FileGone,
    /// It was emptied.
    Truncated,
    /// Rows were deleted.
    Deleted {
        /// How many.
        rows: u64,
    },
    /// It has another name since.
    Renamed {
        /// Which.
        to: TableName,
    },
}

impl Deed {
    /// How many rows went, as far as it can be compared: what isn't counted in rows is more than any.
    pub fn weight(&self) -> u64 {
        match self {
            Self::Deleted { rows } => *rows,
            _ => u64::MAX,
        }
    }
}

/// One transaction that did something to the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    #[serde(flatten)]
    pub deed: Deed,
    /// To which table.
    #[serde(flatten)]
    pub table: TableName,
    /// Which transaction.
    pub xid: u32,
    /// Whether it counted.
    pub committed: bool,
    /// When it ended, by the server's clock.
    pub at: Option<Timestamp>,
    /// The record with which it ended.
    pub lsn: Lsn,
    /// A recovery that stops before the record here has the table as it was.
    pub restore_lsn: Lsn,
    /// On which timeline.
    pub timeline: TimelineId,
    /// How many rows it had before, as somebody last counted or guessed.
    pub rows_estimated: Option<u64>,
}

/// What one transaction, or subtransaction, did so far.
#[derive(Debug, Default)]
struct Open {
    /// Rows deleted, by the table's database and oid.
    deleted: BTreeMap<(u32, u32), (TableName, u64)>,
    dropped: Vec<(u32, ClassRow, TableName)>,
    changed: Vec<Change>,
    /// Entries that it made, by database and oid.
    made: BTreeSet<(u32, u32)>,
    /// Tables whose rows it is writing anew.
    rewritten: BTreeSet<(u32, u32)>,
    databases: Vec<(u32, Lsn)>,
}

impl Open {
    fn merge(&mut self, other: Self) {
        for (key, (name, rows)) in other.deleted {
            self.deleted.entry(key).or_insert_with(|| (name, 0)).1 += rows;
        }
        self.dropped.extend(other.dropped);
        self.changed.extend(other.changed);
        self.made.extend(other.made);
        self.rewritten.extend(other.rewritten);
        self.databases.extend(other.databases);
    }
}

/// An entry of `pg_class` that a transaction changed.
#[derive(Debug)]
struct Change {
    /// By the record here.
    lsn: Lsn,
    database: u32,
    before: ClassRow,
    name: TableName,
    /// None when the log doesn't tell.
    after: Option<ClassRow>,
}

/// Which table a file is of.
#[derive(Debug, Clone)]
struct Owner {
    database: u32,
    row: ClassRow,
    name: TableName,
}

/// Follows one table through the log.
#[derive(Debug)]
pub struct Ledger {
    wanted: WantedTable,
    version: MajorVersion,
    zstandard: Option<InflateZstandard>,
    known: Known,
    /// Files of tables that are meant.
    files: HashMap<RelationLocator, Owner>,
    open: HashMap<u32, Open>,
    /// Transactions that ended from the first and up to the second count.
    window: (Option<Timestamp>, Option<Timestamp>),
    findings: Vec<Finding>,
    aborted: Vec<Finding>,
    /// Every table that is meant by what was typed.
    matching: BTreeSet<TableName>,
    /// When the transactions ended that were read since this was last asked: the first, the last.
    times: Option<(Timestamp, Timestamp)>,
}

impl Ledger {
    /// That knows nothing yet.
    pub fn new(wanted: WantedTable, version: MajorVersion, zstandard: Option<InflateZstandard>) -> Self {
        Self {
            wanted,
            version,
            zstandard,
            known: Known::default(),
            files: HashMap::new(),
            open: HashMap::new(),
            window: (None, None),
            findings: Vec::new(),
            aborted: Vec::new(),
            matching: BTreeSet::new(),
            times: None,
        }
    }

    /// Only transactions that ended between these count.
    pub fn within(self, since: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        Self { window: (since, until), ..self }
    }

    /// What was found, in the order of the log.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The same of transactions that were rolled back; only the last ones.
    pub fn aborted(&self) -> &[Finding] {
        &self.aborted
    }

    /// Every table that is meant by what was typed.
    pub fn matching(&self) -> &BTreeSet<TableName> {
        &self.matching
    }

    /// Every table that is known, but for PostgreSQL's own.
    pub fn tables(&self) -> BTreeSet<TableName> {
        let any = |name: &TableName| !name.schema.starts_with("pg_") && name.schema != "information_schema";
        let mut names = BTreeSet::new();
        for (oid, database) in &self.known.databases {
            for row in database.class.rows().filter(|row| !row.is_known_dead()) {
                if let Some(row) = ClassRow::parse(row, self.version).filter(|row| is_table(row.kind)) {
                    names.insert(self.known.name(*oid, &row));
                }
            }
        }
        names.retain(any);
        names
    }

    /// The names of the databases that are known.
    pub fn databases(&self) -> BTreeSet<String> {
        self.known.databases.keys().map(|oid| self.known.database_name(*oid)).collect()
    }

    /// Whether nothing is known of a database, or what was known may be wrong.
    pub fn is_wanting(&self, database: u32) -> bool {
        self.known.databases.get(&database).is_none_or(|known| known.is_stale)
    }

    /// When the transactions ended that were read since this was last asked.
    pub fn take_times(&mut self) -> Option<(Timestamp, Timestamp)> {
        self.times.take()
    }

    /// Takes the names of databases, from the pages of `pg_database`.
    pub fn load_database_names(&mut self, file: RelationLocator, pages: impl IntoIterator<Item = (u32, Vec<u8>)>) {
        let (known_file, table) = &mut self.known.names;
        if known_file.replace(file) != Some(file) {
            *table = TrackedTable::default();
        }
        pages.into_iter().for_each(|(block, page)| table.load(block, &page));
        let rows: Vec<_> = table
            .rows()
            .filter(|row| !row.is_known_dead())
            .filter_map(|row| DatabaseRow::parse(row, self.version))
            .collect();
        rows.into_iter().for_each(|row| drop(self.known.database_names.insert(row.oid, row.name)));
    }

    /// Takes a database as a recovery point has it, in place of what was known. The schemas' pages come with the rest, or nothing does.
    pub fn load_database(&mut self, oid: u32, database: Database) {
        self.known.forget_files(oid);
        self.known.schemas_from(oid, &database);
        self.known.databases.insert(oid, database);
        self.known.index(oid, self.version);
        let rows: Vec<StoredRow> =
            self.known.databases.get(&oid).map_or(Vec::new(), |database| {
                database.class.rows().filter(|row| !row.is_known_dead()).cloned().collect()
            });
        rows.iter().for_each(|row| drop(self.meet(oid, row)));
    }

    /// A part of the log is missing: from here on what is known may be wrong, until the next recovery point is read.
    pub fn gap(&mut self) {
        self.known.databases.values_mut().for_each(|database| database.is_stale = true);
    }

    /// An entry of `pg_class`: is it the table?
    fn meet(&mut self, database: u32, row: &StoredRow) -> Option<(ClassRow, TableName)> {
        let row = ClassRow::parse(row, self.version)?;
        let name = self.known.name(database, &row);
        if is_table(row.kind) && self.wanted.means(&name) {
            self.matching.insert(name.clone());
            let place = self.known.databases.get(&database).map(|database| database.place);
            if let Some(file) = place.and_then(|place| row.locator(place)) {
                self.files.insert(file, Owner { database, row: row.clone(), name: name.clone() });
            }
        }
        Some((row, name))
    }

    /// The next record.
    pub fn read(&mut self, record: &Record, timeline: TimelineId) {
        if record.header.manager == ResourceManager::Transaction {
            if let Some(end) = TransactionEnd::of(record, self.version) {
                self.end(&end, record, timeline);
            }
            return;
        }
        // Most of a log is about indexes.
        if !matches!(record.header.manager, ResourceManager::Log | ResourceManager::Other(4 | 7 | 9 | 10)) {
            return;
        }
        // What can't be understood, or is too long to be kept, is no change of rows.
        let Ok(contents) = record.contents(self.version) else { return };
        if let Some(change) = ClusterChange::of(record, &contents, self.version) {
            self.cluster(change, record);
        }
        let mut relations: Vec<RelationLocator> =
            contents.blocks.iter().map(|block| block.reference.relation).collect();
        relations.dedup();
        for relation in relations {
            self.relation(relation, record, &contents);
        }
    }

    fn relation(&mut self, relation: RelationLocator, record: &Record, contents: &Contents<'_>) {
        if let Some(owner) = self.files.get(&relation)
            && let Some((of, RowChange::Delete { is_deletion: true, .. })) = RowChange::of(record, contents)
            && of == relation
        {
            let deleted = &mut self.open.entry(record.header.xid).or_default().deleted;
            deleted.entry((owner.database, owner.row.oid)).or_insert_with(|| (owner.name.clone(), 0)).1 += 1;
        }
        let events = self.known.apply(relation, record, contents, (self.version, self.zstandard));
        for (database, event) in events {
            self.class_event(database, event, record);
        }
    }

    /// Something happened to an entry of `pg_class`.
    fn class_event(&mut self, database: u32, event: RowEvent, record: &Record) {
        let xid = record.header.xid;
        match event {
            RowEvent::Page(rows) => {
                rows.iter().filter(|row| !row.is_known_dead()).for_each(|row| drop(self.meet(database, row)));
                self.known.index(database, self.version);
            }
            RowEvent::Overwritten(row) => {
                if let Some(row) = row {
                    self.meet(database, &row);
                }
            }
            RowEvent::Inserted(row) => {
                let Some((row, name)) = row.and_then(|row| self.meet(database, &row)) else { return };
                let rewritten = row.name.strip_prefix("pg_temp_").and_then(|oid| oid.parse().ok());
                if let Some(oid) = rewritten {
                    self.open.entry(xid).or_default().rewritten.insert((database, oid));
                }
                if self.wanted.means(&name) {
                    self.open.entry(xid).or_default().made.insert((database, row.oid));
                }
            }
            RowEvent::Updated(old, new) => {
                let new = new.and_then(|new| self.meet(database, &new));
                if let Some((row, _)) = &new {
                    self.known.moved(database, row);
                }
                let old = old.and_then(|old| self.meet(database, &old));
                if let Some((before, name)) = old.filter(|(row, name)| is_table(row.kind) && self.wanted.means(name)) {
                    let after = new.map(|(row, _)| row);
                    let change = Change { lsn: record.start, database, before, name, after };
                    self.open.entry(xid).or_default().changed.push(change);
                }
            }
            RowEvent::Deleted(old) => {
                let old = old.and_then(|old| self.meet(database, &old));
                if let Some((old, name)) = old.filter(|(row, name)| is_table(row.kind) && self.wanted.means(name)) {
                    self.open.entry(xid).or_default().dropped.push((database, old, name));
                }
            }
        }
    }

    fn cluster(&mut self, change: ClusterChange<'_>, record: &Record) {
        match change {
            ClusterChange::Map { database, tablespace, map } => {
                if database != 0 {
                    self.known.map(database, place_of(tablespace, database), map);
                }
            }
            // A database that moves to another tablespace leaves its old files, too, and keeps its entry.
            ClusterChange::DropDatabase { database } if !self.known.is_deleted(database, record.header.xid) => {
                self.known.databases.get_mut(&database).into_iter().for_each(|known| known.is_stale = true);
            }
            ClusterChange::DropDatabase { database } => {
                if self.files.values().any(|owner| owner.database == database) {
                    // Newer minor versions mark it first, at once and for good.
                    let from = self.known.invalid_since.get(&database).copied().unwrap_or(record.start);
                    self.open.entry(record.header.xid).or_default().databases.push((database, from));
                }
            }
        }
    }

    /// A transaction ends.
    fn end(&mut self, end: &TransactionEnd, record: &Record, timeline: TimelineId) {
        if let Some(at) = end.at {
            self.times = Some(self.times.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
        }
        let Some(xid) = end.xid else { return };
        let lists = TransactionLists::of(record, self.version).unwrap_or_default();
        let mut done = self.open.remove(&xid).unwrap_or_default();
        for subtransaction in &lists.subtransactions {
            if let Some(part) = self.open.remove(subtransaction) {
                done.merge(part);
            }
        }
        let finding = |deed, table: &TableName, rows_estimated| Finding {
            deed,
            table: table.clone(),
            xid,
            committed: end.outcome == Outcome::Committed,
            at: end.at,
            lsn: end.start,
            restore_lsn: end.start,
            timeline,
            rows_estimated,
        };
        done.changed.sort_by_key(|change| change.lsn);
        let told = done.changed.iter().filter(|change| change.after.is_some());
        let told = told.map(|change| (change.database, change.before.oid));
        let told: BTreeSet<(u32, u32)> = told.chain(done.dropped.iter().map(|(of, row, _)| (*of, row.oid))).collect();
        let mut found = self.judge(done, &finding);
        let gone: Vec<Owner> = lists.dropped.iter().filter_map(|file| self.files.remove(file)).collect();
        if end.outcome == Outcome::Committed {
            for owner in gone.iter().filter(|owner| !told.contains(&(owner.database, owner.row.oid))) {
                found.push(finding(Deed::FileGone, &owner.name, owner.row.rows_estimated));
            }
            found.retain(|finding| self.is_in_window(finding));
            self.findings.extend(found);
            if self.findings.len() >= 2 * FINDINGS_MAX {
                self.findings.sort_by_key(|finding| Reverse((finding.deed.weight(), finding.lsn)));
                self.findings.truncate(FINDINGS_MAX);
                self.findings.sort_by_key(|finding| finding.lsn);
            }
        } else {
            found.retain(|finding| self.is_in_window(finding));
            self.aborted.extend(found);
            let excess = self.aborted.len().saturating_sub(ABORTED_MAX);
            self.aborted.drain(..excess);
        }
    }

    fn is_in_window(&self, finding: &Finding) -> bool {
        let (since, until) = self.window;
        finding.at.is_none_or(|at| since.is_none_or(|since| at >= since) && until.is_none_or(|until| at <= until))
    }

    /// What all that comes to.
    fn judge(&self, done: Open, finding: &impl Fn(Deed, &TableName, Option<u64>) -> Finding) -> Vec<Finding> {
        let mut found = Vec::new();
        for (database, at) in done.databases {
            let meant = self.files.values().filter(|owner| owner.database == database);
            let names: BTreeMap<&TableName, Option<u64>> =
                meant.map(|owner| (&owner.name, owner.row.rows_estimated)).collect();
            for (name, rows) in names {
                // The files go with this record, before the transaction's end.
                found.push(Finding { restore_lsn: at, ..finding(Deed::DroppedWithDatabase, name, rows) });
            }
        }
        let mut changed: BTreeMap<(u32, u32), Change> = BTreeMap::new();
        for change in done.changed {
            // The first one has the entry as it was, the last one as it is.
            match changed.entry((change.database, change.before.oid)) {
                Entry::Vacant(place) => drop(place.insert(change)),
                Entry::Occupied(mut known) => known.get_mut().after = change.after,
            }
        }
        for (database, row, name) in done.dropped {
            let before = changed.remove(&(database, row.oid)).map_or(row.clone(), |changed| changed.before);
            // What it made itself, nobody misses.
            if !done.made.contains(&(database, row.oid)) {
                found.push(finding(Deed::Dropped, &name, before.rows_estimated));
            }
        }
        for (key @ (database, _), Change { before, name, after, .. }) in changed {
            let Some(after) = after.filter(|_| !done.made.contains(&key)) else { continue };
            let is_moved = before.relfilenode != after.relfilenode && before.tablespace == after.tablespace;
            if is_moved && before.relfilenode != 0 && !done.rewritten.contains(&key) {
                found.push(finding(Deed::Truncated, &name, before.rows_estimated));
            }
            let to = self.known.name(database, &after);
            if to != name {
                found.push(finding(Deed::Renamed { to }, &name, before.rows_estimated));
            }
        }
        for (key, (name, rows)) in done.deleted {
            if !done.made.contains(&key) {
                found.push(finding(Deed::Deleted { rows }, &name, None));
            }
        }
        found
    }
}

/// Where the files of a database are.
fn place_of(tablespace: u32, database: u32) -> Place {
    // From its three numbers, as in the log.
    let bytes = [tablespace, database, 0].map(u32::to_le_bytes).concat();
    RelationLocator::parse(&bytes).map_or(Place::Database { database }, |locator| locator.place)
}
