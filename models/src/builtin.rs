//! The built-in model: a small storyteller that is part of the program, so that everything can be
//! tried at once.

use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::error::Error;
use crate::folder::{Folder, config_from};
use crate::tokenizer::Tokenizer;

const CONFIG: &[u8] = include_bytes!("../builtin/config.json");
const GENERATION: &[u8] = include_bytes!("../builtin/generation_config.json");
const TOKENIZER: &[u8] = include_bytes!("../builtin/tokenizer.json");
const WEIGHTS: &[u8] = include_bytes!("../builtin/model.safetensors");

impl Folder {
    /// The built-in model. It stands in errors as `builtin`.
    ///
    /// # Errors
    ///
    /// None in a released program: the files are those that the tests have opened.
    pub fn builtin() -> Result<Folder, Error> {
        let config = config_from(Path::new("builtin"), CONFIG, Some(GENERATION), &mut Vec::new())?;
        let tokenizer = Tokenizer::parse(Path::new("builtin/tokenizer.json"), TOKENIZER.to_vec(), &config)?;
        Folder::new(config, tokenizer, Checkpoint::builtin("builtin/model.safetensors", WEIGHTS)?)
    }
}
