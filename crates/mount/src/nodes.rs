//! The numbers by which the kernel knows files and directories, and where these are now.

use crate::root::Identity;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// The number of the directory that is mounted.
pub const TOP: u64 = 1;

/// All that the kernel knows of.
#[derive(Debug)]
pub struct Nodes {
    by_number: HashMap<u64, Node>,
    children: HashMap<Name, u64>,
    /// Files that have, or had, several names: whichever is asked for, it is the same node.
    linked: HashMap<Identity, u64>,
    next: u64,
}

/// In which directory, and how it is called there.
type Name = (u64, OsString);

#[derive(Debug, Default)]
struct Node {
    /// As far as they are known. None when it was removed, and somebody has it open.
    names: Vec<Name>,
    /// How often the kernel was told of it and has not forgotten it.
    lookups: u64,
    linked: Option<Identity>,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { by_number: HashMap::new(), children: HashMap::new(), linked: HashMap::new(), next: TOP + 1 }
    }
}

impl Nodes {
    /// Where a node is, from the top. None for what was removed.
    pub fn path(&self, number: u64) -> Option<PathBuf> {
        let mut names = Vec::new();
        let mut at = number;
        while at != TOP {
            let (parent, name) = self.by_number.get(&at)?.names.first()?;
            names.push(name);
            at = *parent;
        }
        // "." stands for the top itself: an empty path is none.
        Some(if names.is_empty() { PathBuf::from(".") } else { names.iter().rev().collect() })
    }

    /// Where a child of a node is.
    pub fn child_path(&self, parent: u64, name: &OsStr) -> Option<PathBuf> {
        let path = self.path(parent)?;
        Some(if parent == TOP { PathBuf::from(name) } else { path.join(name) })
    }

    /// The number of what has this name, known from now on. `linked` when it has others.
    pub fn learn(&mut self, parent: u64, name: &OsStr, linked: Option<Identity>) -> u64 {
        let key = (parent, name.to_os_string());
        let known = self.children.get(&key).or_else(|| self.linked.get(&linked?)).copied();
        let number = known.unwrap_or(self.next);
        self.next += u64::from(known.is_none());
        self.by_number.entry(number).or_default();
        self.link(number, parent, name, linked);
        number
    }

    /// A node has this name, whatever others it has.
    pub fn link(&mut self, number: u64, parent: u64, name: &OsStr, linked: Option<Identity>) {
        let key = (parent, name.to_os_string());
        if self.children.get(&key).is_some_and(|other| *other != number) {
            self.unlink(parent, name);
        }
        let Some(node) = self.by_number.get_mut(&number) else { return };
        node.lookups += 1;
        if !node.names.contains(&key) {
            node.names.push(key.clone());
        }
        self.children.insert(key, number);
        if let Some(identity) = linked {
            node.linked = linked;
            self.linked.insert(identity, number);
        }
    }

    /// What had this name has it no longer.
    pub fn unlink(&mut self, parent: u64, name: &OsStr) {
        let key = (parent, name.to_os_string());
        let Some(node) = self.children.remove(&key).and_then(|number| self.by_number.get_mut(&number)) else { return };
        node.names.retain(|name| *name != key);
        // Without a name it may be gone at any time, and another file be what it was.
        if let Some(identity) = node.linked.take_if(|_| node.names.is_empty()) {
            self.linked.remove(&identity);
        }
    }

    /// What had one name has another.
    pub fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) {
        let (from, to) = ((from.0, from.1.to_os_string()), (to.0, to.1.to_os_string()));
        self.unlink(to.0, &to.1);
        let Some(number) = self.children.remove(&from) else { return };
        self.children.insert(to.clone(), number);
        if let Some(node) = self.by_number.get_mut(&number) {
            node.names.iter_mut().filter(|name| **name == from).for_each(|name| *name = to.clone());
        }
    }

    /// The kernel forgets it so many times.
    pub fn forget(&mut self, number: u64, times: u64) {
        let Some(node) = self.by_number.get_mut(&number) else { return };
        node.lookups = node.lookups.saturating_sub(times);
        if node.lookups > 0 {
            return;
        }
        let Some(node) = self.by_number.remove(&number) else { return };
        for name in &node.names {
            if self.children.get(name) == Some(&number) {
                self.children.remove(name);
            }
        }
        node.linked.map(|identity| self.linked.remove(&identity));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    #[test]
    fn what_lies_in_a_renamed_directory_moves_with_it() {
        let mut nodes = Nodes::default();
        let slots = nodes.learn(TOP, name("pg_replslot"), None);
        let slot = nodes.learn(slots, name("one.tmp"), None);
        let state = nodes.learn(slot, name("state"), None);
        nodes.rename((slots, name("one.tmp")), (slots, name("one")));
        assert_eq!(nodes.path(state).unwrap(), PathBuf::from("pg_replslot/one/state"));
        assert_eq!(nodes.learn(slots, name("one"), None), slot);
        assert_eq!(nodes.path(TOP).unwrap(), PathBuf::from("."));
        assert_eq!(nodes.child_path(TOP, name("base")).unwrap(), PathBuf::from("base"));
    }

    #[test]
    fn a_name_that_is_given_anew_is_another_node() {
        let mut nodes = Nodes::default();
        let old = nodes.learn(TOP, name("file"), None);
        nodes.unlink(TOP, name("file"));
        let new = nodes.learn(TOP, name("file"), None);
        assert_ne!(old, new);
        assert_eq!(nodes.path(old), None);
        // Forgetting the old one leaves the new one alone.
        nodes.forget(old, 1);
        assert_eq!((nodes.path(old), nodes.learn(TOP, name("file"), None)), (None, new));
        nodes.forget(new, 1);
        assert!(nodes.path(new).is_some());
        nodes.forget(new, 1);
        assert!(nodes.path(new).is_none());
    }

    #[test]
    fn what_is_renamed_over_another_takes_its_place() {
        let mut nodes = Nodes::default();
        let (one, two) = (nodes.learn(TOP, name("one"), None), nodes.learn(TOP, name("two"), None));
        nodes.rename((TOP, name("one")), (TOP, name("two")));
        assert_eq!(nodes.learn(TOP, name("two"), None), one);
        nodes.forget(two, 1);
        assert_eq!(nodes.path(one).unwrap(), PathBuf::from("two"));
        nodes.link(one, TOP, name("three"), None);
        nodes.unlink(TOP, name("two"));
        assert_eq!(nodes.path(one).unwrap(), PathBuf::from("three"));
    }

    #[test]
    fn a_file_of_two_names_is_one_and_outlives_either() {
        let directory = tempfile::tempdir().unwrap();
        let identity = |text: &str| {
            let path = directory.path().join(text);
            std::fs::write(&path, text).unwrap();
            Some(Identity::of(&rustix::fs::stat(&path).unwrap()))
        };
        let (one, other) = (identity("one"), identity("other"));
        let path = |nodes: &Nodes, node| nodes.path(node).map(|path| path.into_os_string().into_string().unwrap());
        for (gone, left) in [("a", "b"), ("b", "a")] {
            let mut nodes = Nodes::default();
            let node = nodes.learn(TOP, name("a"), one);
            assert_eq!(nodes.learn(TOP, name("b"), one), node);
            assert_ne!(nodes.learn(TOP, name("c"), other), node);
            nodes.unlink(TOP, name(gone));
            assert_eq!(path(&nodes, node).as_deref(), Some(left));
            assert_eq!(nodes.learn(TOP, name(left), None), node, "it is found by the name that is left");
            nodes.rename((TOP, name(left)), (TOP, name("d")));
            assert_eq!(path(&nodes, node).as_deref(), Some("d"));
            // One that has no name any more is nobody's, whoever gets its inode.
            nodes.unlink(TOP, name("d"));
            assert_eq!(path(&nodes, node), None);
            assert_ne!(nodes.learn(TOP, name("e"), one), node);
            nodes.forget(node, 3);
            assert!(!nodes.by_number.contains_key(&node));
        }
    }
}
