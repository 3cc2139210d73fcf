//! Workspaces that are used again, by whichever thread needs one.

use std::sync::Mutex;

/// Workspaces that are not in use.
pub(crate) struct Pool<T> {
    idle: Mutex<Vec<T>>,
}

impl<T> Pool<T> {
    pub(crate) fn new() -> Self {
        Self { idle: Mutex::new(Vec::new()) }
    }

    /// An idle workspace, or a new one.
    pub(crate) fn take(&self, make: impl FnOnce() -> T) -> T {
        let idle = self.idle.lock().expect("no thread panics holding it").pop();
        idle.unwrap_or_else(make)
    }

    /// Keeps a workspace for the next one that needs it.
    pub(crate) fn give(&self, workspace: T) {
        self.idle.lock().expect("no thread panics holding it").push(workspace);
    }
}
