//! One safetensors file: its header is checked whole when opened, its tensors are read one at a
//! time.

use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::TensorInfo;
use safetensors::{Dtype, SafeTensorError, SafeTensors, tensor::Metadata};

use crate::content::Content;
use crate::error::Error;
use crate::json_object::{FETCH_LFS, LFS_POINTER, is_lfs_pointer};

const COPY_AGAIN: &str = "copy the file again from the model's source";

/// A checked safetensors file. After opening, every tensor in it lies inside the file.
pub(crate) struct Shard {
    file: PathBuf,
    content: Content,
    /// Where the tensors begin.
    start: usize,
    metadata: Metadata,
}

impl Shard {
    pub(crate) fn open(file: &Path) -> Result<Shard, Error> {
        let content = Content::map(file, "put all files of the model into one folder")?;
        Shard::parse(file.into(), content)
    }

    pub(crate) fn parse(file: PathBuf, content: Content) -> Result<Shard, Error> {
        match SafeTensors::read_metadata(content.bytes()) {
            Ok((header, metadata)) => Ok(Shard { file, start: size_of::<u64>() + header, content, metadata }),
            Err(cause) => Err(damaged(file, &content, cause)),
        }
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// All of the file.
    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.metadata.info(name).is_some()
    }

    /// Checks a tensor's type and shape without reading it. `None` if it is not here.
    pub(crate) fn check(&self, name: &str, shape: &[usize]) -> Option<Result<(), Error>> {
        Some(self.checked(name, self.metadata.info(name)?, shape).map(|_| ()))
    }

    /// Reads a tensor as f32, row-major. `None` if it is not here.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Option<Result<Vec<f32>, Error>> {
        let info = self.metadata.info(name)?;
        let read = self.checked(name, info, shape).and_then(|format| {
            let (from, to) = info.data_offsets;
            let values = self.content.read(self.start + from..self.start + to, |bytes| format.read(bytes));
            finite(&self.file, name, values)
        });
        Some(read)
    }

    fn checked(&self, name: &str, info: &TensorInfo, shape: &[usize]) -> Result<Format, Error> {
        let (file, tensor) = (self.file.clone(), name.to_string());
        let Some(format) = Format::of(info.dtype) else {
            let (actual, expected) = (info.dtype.to_string(), "F32, F16 or BF16");
            return Err(Error::TensorType { file, tensor, actual, expected });
        };
        if info.shape != shape {
            return Err(Error::TensorShape {
                file,
                tensor,
                actual: info.shape.clone(),
                expected: shape.into(),
            });
        }
        Ok(format)
    }
}

/// The values, if all of them are finite.
pub(crate) fn finite(file: &Path, name: &str, values: Vec<f32>) -> Result<Vec<f32>, Error> {
    match values.iter().position(|x| !x.is_finite()) {
        None => Ok(values),
        Some(index) => {
            let (file, tensor) = (file.into(), name.into());
            Err(Error::TensorNotFinite { file, tensor, index, actual: values[index] })
        }
    }
}

/// How a weight is stored. Reading it as f32 is exact.
enum Format {
    F32,
    F16,
    Bf16,
}

impl Format {
    fn of(dtype: Dtype) -> Option<Format> {
        match dtype {
            Dtype::F32 => Some(Format::F32),
            Dtype::F16 => Some(Format::F16),
            Dtype::BF16 => Some(Format::Bf16),
            _ => None,
        }
    }

    /// Tensors need not be aligned in the file, so values are put together from bytes.
    fn read(&self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Format::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Format::F16 => bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
            Format::Bf16 => bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
        }
    }
}

fn damaged(file: PathBuf, content: &Content, cause: SafeTensorError) -> Error {
    use SafeTensorError::*;
    if is_lfs_pointer(content.bytes()) {
        return Error::Malformed { file, reason: LFS_POINTER.into(), cure: FETCH_LFS };
    }
    let bytes = content.bytes().len();
    let reason = match cause {
        HeaderTooSmall | InvalidHeaderLength | MetadataIncompleteBuffer => {
            format!("{bytes} bytes, not the length that its header states: the file is truncated or damaged")
        }
        other => format!("not a safetensors file ({other})"),
    };
    Error::Malformed { file, reason, cure: COPY_AGAIN }
}
