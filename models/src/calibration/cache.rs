//! What a model's numbers were observed to be, kept from one start of the server to the next.
//!
//! A file for each model and its texts, named by a digest of all that the observation follows from:
//! weights, configuration, tokens, and the version below. Its first line is the digest of the rest.
//! A file that is not there, cannot be read or is damaged costs a calibration, nothing else.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crate::{Folder, error::Error, evaluator::float::Observed};

/// Another version of the program may observe the same model otherwise. The number is raised where
/// it does so between versions.
const VERSION: &str = concat!("sotto ", env!("CARGO_PKG_VERSION"), " observed 4");
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
        if let Some(observed) = read(&file, folder.config().num_hidden_layers) {
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
    let length = |hash: &mut blake3::Hasher, len: usize| _ = hash.update(&(len as u64).to_le_bytes());
    let part = |hash: &mut blake3::Hasher, bytes: &[u8]| {
        length(hash, bytes.len());
        hash.update(bytes);
    };
    part(&mut hash, VERSION.as_bytes());
    part(&mut hash, format!("{:?}", folder.config()).as_bytes());
    for content in folder.checkpoint().contents() {
        length(&mut hash, content.bytes().len());
        content.read_all(|bytes| _ = hash.update(bytes));
    }
    for text in tokens {
        part(&mut hash, &text.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>());
    }
    hash.finalize().to_string()
}

/// What is in a file that is whole, fits the model, and only its owner may have written.
fn read(file: &Path, layers: usize) -> Option<Observed> {
    // A pipe or a device would be waited for.
    if !fs::metadata(file).ok()?.is_file() {
        return None;
    }
    let open = File::open(file).ok()?;
    let mut text = String::new();
    if !is_own(&open.metadata().ok()?) || open.take(LIMIT).read_to_string(&mut text).is_err() {
        return None;
    }
    let (digest, rest) = text.split_once('\n')?;
    let whole = digest == blake3::hash(rest.as_bytes()).to_string();
    let observed: Observed = whole.then(|| serde_json::from_str(rest).ok()).flatten()?;
    let Observed { stream, inner, values, scores, spread, .. } = &observed;
    let mut all = stream.iter().chain(inner).chain(values).chain(scores).chain(spread);
    (inner.len() <= layers && all.all(|x| x.is_finite() && *x >= 0.0)).then_some(observed)
}

/// Writes a file beside, and gives it its name: nobody sees half of one.
fn write(dir: &Path, file: &Path, observed: &Observed) -> io::Result<()> {
    let text = serde_json::to_string(observed)?;
    let (mut folders, mut options) = (fs::DirBuilder::new(), File::options());
    folders.recursive(true);
    options.write(true).create_new(true);
    // How large the numbers of a secret model become is nobody else's business.
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        folders.mode(0o700);
        options.mode(0o600);
    }
    folders.create(dir)?;
    let beside = file.with_extension(format!("{}.new", std::process::id()));
    let _ = fs::remove_file(&beside);
    options.open(&beside)?.write_all(format!("{}\n{text}", blake3::hash(text.as_bytes())).as_bytes())?;
    fs::rename(&beside, file)
}

/// Whether only its owner may change a file.
#[cfg(unix)]
fn is_own(file: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.mode() & 0o022 == 0
}

/// Whether only its owner may change a file: not known here.
#[cfg(not(unix))]
fn is_own(_: &fs::Metadata) -> bool {
    true
}
