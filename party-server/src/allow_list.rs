//! The clients that are served: a list of fingerprints, from options and from a file.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use sotto_net::{Fingerprint, Peers};
use sotto_party::key_file::{check_owner, check_writers};

use crate::error::Error;

/// More than any list takes, in bytes.
const MAX_FILE_LEN: u64 = 16 << 20;

/// A list of clients. Cheap to clone; all clones are the same list.
#[derive(Clone)]
pub struct AllowList(Arc<Source>);

struct Source {
    fixed: BTreeSet<Fingerprint>,
    file: Option<PathBuf>,
    now: RwLock<Peers>,
}

impl AllowList {
    /// The clients `fixed`, and those in `file`: a fingerprint a line; what follows a `#` is a
    /// comment. Without either, everyone is served.
    ///
    /// # Errors
    /// [`Error::Usage`] if the file cannot be read, holds something else, or others may change it.
    pub fn open(fixed: &[Fingerprint], file: Option<&Path>) -> Result<AllowList, Error> {
        let (fixed, file) = (fixed.iter().copied().collect(), file.map(PathBuf::from));
        let list = AllowList(Arc::new(Source { fixed, file, now: RwLock::new(Peers::Any) }));
        list.reread()?;
        Ok(list)
    }

    /// Reads the file again; returns the number of clients, if there is a list. Sessions under way
    /// go on.
    ///
    /// # Errors
    /// As [`AllowList::open`]; the list stays as it was.
    pub fn reread(&self) -> Result<Option<usize>, Error> {
        let Source { fixed, file, now } = &*self.0;
        let mut all = fixed.clone();
        if let Some(file) = file {
            let refuse = |reason: String| Error::Usage(format!("--allow-file {}: {reason}", file.display()));
            all.extend(read(file).map_err(refuse)?);
        }
        let (count, list) = match (all.len(), file) {
            (0, None) => (None, Peers::Any),
            (count, _) => (Some(count), Peers::Only(all)),
        };
        *now.write().unwrap_or_else(PoisonError::into_inner) = list;
        Ok(count)
    }

    /// The list as it is now.
    pub fn peers(&self) -> Peers {
        self.0.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a client is served now.
    pub fn has(&self, client: &Fingerprint) -> bool {
        match &*self.0.now.read().unwrap_or_else(PoisonError::into_inner) {
            Peers::Any => true,
            Peers::Only(list) => list.contains(client),
        }
    }
}

fn read(file: &Path) -> Result<Vec<Fingerprint>, String> {
    let unread = |e: io::Error| format!("cannot be read: {e}");
    let file = File::open(file).map_err(unread)?;
    let about = file.metadata().map_err(unread)?;
    let len = about.len();
    if len > MAX_FILE_LEN {
        return Err(format!("{len} bytes, at most {MAX_FILE_LEN} are read; this is no list of fingerprints"));
    }
    check_owner(&about)?;
    check_writers(&about)?;
    let mut text = String::new();
    file.take(MAX_FILE_LEN).read_to_string(&mut text).map_err(unread)?;
    let mut all = vec![];
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let entry = line.split('#').next().unwrap_or_default().trim();
        if !entry.is_empty() {
            all.push(entry.parse::<Fingerprint>().map_err(|e| format!("line {}: {e}", number + 1))?);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sotto_net::Identity;

    use super::*;

    #[test]
    fn a_list_follows_its_file_and_survives_mistakes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clients");
        let [a, b, c] = [(); 3].map(|()| Identity::generate().fingerprint());
        fs::write(&file, format!("# staff\n{a}  # the first\n\n")).unwrap();
        let list = AllowList::open(&[b], Some(&file)).unwrap();
        assert_eq!([a, b, c].map(|client| list.has(&client)), [true, true, false]);
        fs::write(&file, format!("{c}\r\n")).unwrap();
        assert_eq!(list.reread().unwrap(), Some(2));
        assert_eq!([a, b, c].map(|client| list.has(&client)), [false, true, true]);
        fs::write(&file, format!("{a}\nsotto-x\n")).unwrap();
        let error = list.reread().unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("--allow-file"), "{error}");
        assert_eq!([a, b, c].map(|client| list.has(&client)), [false, true, true]);
    }

    #[test]
    fn no_list_serves_everyone_and_an_empty_file_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clients");
        let someone = Identity::generate().fingerprint();
        assert!(AllowList::open(&[], None).unwrap().has(&someone));
        assert!(AllowList::open(&[], Some(&file)).is_err(), "it is not there");
        fs::write(&file, "# nobody yet\n").unwrap();
        assert!(!AllowList::open(&[], Some(&file)).unwrap().has(&someone));
    }
}
