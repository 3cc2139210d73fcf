//! What a model's numbers were observed to be, kept from one start of the server to the next.
//!
//! A file for each model and its texts, named by a digest of all that the observation follows from:
//! weights, configuration, tokens, and the version below. Its first line is the digest of the rest.
//! A file that is not there, cannot be read or is damaged costs a calibration, nothing else.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{Folder, error::Error, evaluator::float::Observed};

/// Raised whenever the same model would be observed otherwise.
const VERSION: &str = "sotto observed 1";
/// Bytes of a file at most.
const LIMIT: u64 = 16 << 20;

/// Where observations are kept, if anywhere.
#[derive(Clone, Debug, Default)]
pub struct Cache(Option<PathBuf>);

impl Cache {
    /// In a folder, which is made when it is needed.
    pub fn in_folder(folder: PathBuf) -> Cache {
        Cache(Some(folder))
    }

    /// What was observed of a model on these tokens, or what `observe` finds, which is kept.
    pub(crate) fn observed(
        &self,
        folder: &Folder,
        tokens: &[Vec<u32>],
        observe: impl FnOnce() -> Result<Observed, Error>,
    ) -> Result<Observed, Error> {
        let Some(dir) = &self.0 else { return observe() };
        let file = dir.join(format!("{}.json", name(folder, tokens)));
        if let Some(observed) = read(&file) {
            return Ok(observed);
        }
        let observed = observe()?;
        // A folder that cannot be written to, or a full disk, costs the next start some time.
        let _ = write(dir, &file, &observed);
        Ok(observed)
    }
}

fn name(folder: &Folder, tokens: &[Vec<u32>]) -> String {
    let mut hash = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| _ = hash.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    part(VERSION.as_bytes());
    part(format!("{:?}", folder.config()).as_bytes());
    folder.checkpoint().contents().for_each(&mut part);
    for text in tokens {
        part(&text.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>());
    }
    hash.finalize().to_string()
}

fn read(file: &Path) -> Option<Observed> {
    let small = fs::metadata(file).ok()?.len() <= LIMIT;
    let text = small.then(|| fs::read_to_string(file).ok()).flatten()?;
    let (digest, rest) = text.split_once('\n')?;
    (digest == blake3::hash(rest.as_bytes()).to_string()).then(|| serde_json::from_str(rest).ok()).flatten()
}

/// Writes a file beside, and gives it its name: nobody sees half of one.
fn write(dir: &Path, file: &Path, observed: &Observed) -> io::Result<()> {
    let text = serde_json::to_string(observed)?;
    fs::create_dir_all(dir)?;
    let beside = file.with_extension(format!("{}.new", std::process::id()));
    fs::write(&beside, format!("{}\n{text}", blake3::hash(text.as_bytes())))?;
    fs::rename(&beside, file)
}
