//! The file of a private key: who may own it, and how it is made when two programs start at once.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use sotto_net::{Error, Identity};

/// The identity that the file at `path` holds; a new one, written there, if there is no such file.
///
/// A new key is written to a file beside `path` and linked to its name, which fails if the name is
/// taken: of two programs that start at once, one makes the key and both use it.
///
/// # Errors
/// [`Error::Identity`] if the file cannot be read or written, belongs to another user, can be read
/// by others, or holds no Ed25519 key.
pub fn open(path: &Path) -> Result<Identity, Error> {
    let refuse = |reason: String| Error::Identity { path: path.into(), reason };
    let about = match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => create(path).map(|()| fs::metadata(path))?,
        about => about,
    };
    about.map_err(|e| e.to_string()).and_then(|about| check_owner(&about)).map_err(refuse)?;
    Identity::load_or_create(path)
}

fn create(path: &Path) -> Result<(), Error> {
    let beside = beside(path);
    let made = Identity::load_or_create(&beside).map_err(|e| match e {
        Error::Identity { reason, .. } => Error::Identity { path: path.into(), reason },
        other => other,
    })?;
    drop(made);
    let linked = fs::hard_link(&beside, path);
    let _ = fs::remove_file(&beside);
    match linked {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            // A file system without links: the key is made in place.
            Identity::load_or_create(path).map(drop)
        }
        _ => Ok(()),
    }
}

/// A name that nobody else uses.
fn beside(path: &Path) -> PathBuf {
    static USED: AtomicU32 = AtomicU32::new(0);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.{}.new", std::process::id(), USED.fetch_add(1, Ordering::Relaxed)));
    path.with_file_name(name)
}

/// Whether a file that decides whom this program trusts belongs to this user or to root.
///
/// # Errors
/// What is wrong, and the cure.
#[cfg(unix)]
pub fn check_owner(file: &fs::Metadata) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let owner = file.uid();
    let me = nix::unistd::geteuid().as_raw();
    match owner == me || owner == 0 {
        true => Ok(()),
        false => {
            Err(format!("it belongs to user {owner}, this program runs as user {me}; run chown {me} on it"))
        }
    }
}

/// Whether a file that decides whom this program trusts belongs to this user: not known here.
///
/// # Errors
/// Never.
#[cfg(not(unix))]
pub fn check_owner(_: &fs::Metadata) -> Result<(), String> {
    Ok(())
}

/// Whether nobody but its owner may change a file.
///
/// # Errors
/// What is wrong, and the cure.
#[cfg(unix)]
pub fn check_writers(file: &fs::Metadata) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let mode = file.mode();
    match mode & 0o022 {
        0 => Ok(()),
        _ => Err(format!("others may change it (mode {:03o}); run chmod go-w on it", mode & 0o777)),
    }
}

/// Whether nobody but its owner may change a file: not known here.
///
/// # Errors
/// Never.
#[cfg(not(unix))]
pub fn check_writers(_: &fs::Metadata) -> Result<(), String> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use super::*;

    #[test]
    fn programs_that_start_at_once_share_the_new_key() {
        let folder = tempfile::tempdir().unwrap();
        let (barrier, path) = (Barrier::new(8), folder.path().join("new/key.pem"));
        let start = || {
            barrier.wait();
            open(&path).unwrap().fingerprint()
        };
        let all = thread::scope(|scope| {
            let started: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            started.into_iter().map(|start| start.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(all.iter().all(|fingerprint| *fingerprint == all[0]));
        assert_eq!(open(&path).unwrap().fingerprint(), all[0]);
        let names: Vec<_> = fs::read_dir(folder.path().join("new")).unwrap().collect();
        assert_eq!(names.len(), 1, "nothing is left beside the key");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_change_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        assert!(check_writers(&fs::metadata(&path).unwrap()).unwrap_err().contains("chmod go-w"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let about = fs::metadata(&path).unwrap();
        assert_eq!((check_writers(&about), check_owner(&about)), (Ok(()), Ok(())));
    }
}
