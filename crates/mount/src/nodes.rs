//! The numbers by which the kernel knows files and directories, and where these are now.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// The number of the directory that is mounted.
pub const TOP: u64 = 1;

/// All that the kernel knows of.
#[derive(Debug)]
pub struct Nodes {
    by_number: HashMap<u64, Node>,
    children: HashMap<(u64, OsString), u64>,
    next: u64,
}

#[derive(Debug)]
struct Node {
    parent: u64,
    /// None when it was removed, and somebody has it open.
    name: Option<OsString>,
    /// How often the kernel was told of it and has not forgotten it.
    lookups: u64,
}

impl Node {
    fn is(&self, parent: u64, name: &OsStr) -> bool {
        self.parent == parent && self.name.as_deref() == Some(name)
    }
}

impl Default for Nodes {
    fn default() -> Self {
        Self { by_number: HashMap::new(), children: HashMap::new(), next: TOP + 1 }
    }
}

impl Nodes {
    /// Where a node is, from the top. None for what was removed.
    pub fn path(&self, number: u64) -> Option<PathBuf> {
        let mut names = Vec::new();
        let mut at = number;
        while at != TOP {
            let node = self.by_number.get(&at)?;
            names.push(node.name.as_deref()?);
            at = node.parent;
        }
        // "." stands for the top itself: an empty path is none.
        Some(if names.is_empty() { PathBuf::from(".") } else { names.iter().rev().collect() })
    }

    /// Where a child of a node is.
    pub fn child_path(&self, parent: u64, name: &OsStr) -> Option<PathBuf> {
        let path = self.path(parent)?;
        Some(if parent == TOP { PathBuf::from(name) } else { path.join(name) })
    }

    /// The number of what has this name, known from now on.
    pub fn learn(&mut self, parent: u64, name: &OsStr) -> u64 {
        let key = (parent, name.to_os_string());
        let number = *self.children.entry(key).or_insert_with(|| {
            self.next += 1;
            self.next - 1
        });
        let node = Node { parent, name: Some(name.to_os_string()), lookups: 0 };
        self.by_number.entry(number).or_insert(node).lookups += 1;
        number
    }

    /// A second name for a node, which is then where it is.
    pub fn link(&mut self, number: u64, parent: u64, name: &OsStr) {
        self.unlink(parent, name);
        if let Some(node) = self.by_number.get_mut(&number) {
            (node.parent, node.name) = (parent, Some(name.to_os_string()));
            node.lookups += 1;
            self.children.insert((parent, name.to_os_string()), number);
        }
    }

    /// What had this name has it no longer.
    pub fn unlink(&mut self, parent: u64, name: &OsStr) {
        let Some(number) = self.children.remove(&(parent, name.to_os_string())) else { return };
        if let Some(node) = self.by_number.get_mut(&number).filter(|node| node.is(parent, name)) {
            node.name = None;
        }
    }

    /// What had one name has another.
    pub fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) {
        self.unlink(to.0, to.1);
        let Some(number) = self.children.remove(&(from.0, from.1.to_os_string())) else { return };
        self.children.insert((to.0, to.1.to_os_string()), number);
        if let Some(node) = self.by_number.get_mut(&number) {
            (node.parent, node.name) = (to.0, Some(to.1.to_os_string()));
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
        let Some(name) = node.name else { return };
        let key = (node.parent, name);
        if self.children.get(&key) == Some(&number) {
            self.children.remove(&key);
        }
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
        let slots = nodes.learn(TOP, name("pg_replslot"));
        let slot = nodes.learn(slots, name("one.tmp"));
        let state = nodes.learn(slot, name("state"));
        nodes.rename((slots, name("one.tmp")), (slots, name("one")));
        assert_eq!(nodes.path(state).unwrap(), PathBuf::from("pg_replslot/one/state"));
        assert_eq!(nodes.learn(slots, name("one")), slot);
        assert_eq!(nodes.path(TOP).unwrap(), PathBuf::from("."));
        assert_eq!(nodes.child_path(TOP, name("base")).unwrap(), PathBuf::from("base"));
    }

    #[test]
    fn a_name_that_is_given_anew_is_another_node() {
        let mut nodes = Nodes::default();
        let old = nodes.learn(TOP, name("file"));
        nodes.unlink(TOP, name("file"));
        let new = nodes.learn(TOP, name("file"));
        assert_ne!(old, new);
        assert_eq!(nodes.path(old), None);
        // Forgetting the old one leaves the new one alone.
        nodes.forget(old, 1);
        assert_eq!((nodes.path(old), nodes.learn(TOP, name("file"))), (None, new));
        nodes.forget(new, 1);
        assert!(nodes.path(new).is_some());
        nodes.forget(new, 1);
        assert!(nodes.path(new).is_none());
    }

    #[test]
    fn what_is_renamed_over_another_takes_its_place() {
        let mut nodes = Nodes::default();
        let (one, two) = (nodes.learn(TOP, name("one")), nodes.learn(TOP, name("two")));
        nodes.rename((TOP, name("one")), (TOP, name("two")));
        assert_eq!(nodes.learn(TOP, name("two")), one);
        nodes.forget(two, 1);
        assert_eq!(nodes.path(one).unwrap(), PathBuf::from("two"));
        nodes.link(one, TOP, name("three"));
        nodes.unlink(TOP, name("two"));
        assert_eq!(nodes.path(one).unwrap(), PathBuf::from("three"));
    }
}
