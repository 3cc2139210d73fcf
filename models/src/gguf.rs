//! A GGUF file: metadata and tensors, its header checked whole when opened, its tensors read one at
//! a time.
//!
//! Layout (versions 2 and 3, little-endian): magic, version, counts; pairs of key and typed value;
//! for each tensor its name, extents, type and offset; padding; the tensors' bytes. A string or a
//! list begins with its length. Source: the GGUF specification, `docs/gguf.md` of ggml.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::content::Content;
use crate::error::Error;
use crate::gguf_blocks::Blocks;
use crate::json_object::{FETCH_LFS, LFS_POINTER, is_lfs_pointer};

/// The first bytes of the file.
const MAGIC: &[u8] = b"GGUF";
/// What tensors are aligned to where the metadata does not say.
const ALIGNMENT: u64 = 32;
/// Values in all of the metadata, those in lists counted.
const MAX_VALUES: usize = 1 << 23;
const MAX_TENSORS: u64 = 1 << 16;
const MAX_DEPTH: usize = 4;
const MAX_EXTENTS: u32 = 4;

const COPY_AGAIN: &str = "copy the file again from the model's source";

/// A checked GGUF file. After opening, every tensor of a known type lies inside the file.
pub(crate) struct Gguf {
    file: PathBuf,
    content: Content,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Info>,
}

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Any unsigned integer.
    Natural(u64),
    /// Any signed integer.
    Integer(i64),
    /// Either precision, as the decimal number that the writer meant.
    Real(f64),
    Flag(bool),
    Text(String),
    List(Vec<Value>),
}

/// Where a tensor lies.
pub(crate) struct Info {
    /// Row-major, as in safetensors; the file has the extents in the opposite order.
    pub(crate) shape: Vec<usize>,
    /// How it is stored, or the name of the type that is not read.
    pub(crate) blocks: Result<Blocks, String>,
    from: usize,
    to: usize,
}

impl Gguf {
    pub(crate) fn open(file: &Path) -> Result<Gguf, Error> {
        let content = Content::map(file, "point to a model's folder or to a GGUF file")?;
        if is_lfs_pointer(content.bytes()) {
            return Err(Error::Malformed { file: file.into(), reason: LFS_POINTER.into(), cure: FETCH_LFS });
        }
        match parse(content.bytes()) {
            Ok((metadata, tensors)) => Ok(Gguf { file: file.into(), content, metadata, tensors }),
            Err(reason) => Err(Error::Malformed { file: file.into(), reason, cure: COPY_AGAIN }),
        }
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// All of the file.
    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    /// A value of the metadata.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    pub(crate) fn info(&self, name: &str) -> Option<&Info> {
        self.tensors.get(name)
    }

    /// The names of all tensors, in alphabetical order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// What `read` makes of the bytes of a tensor of a known type.
    pub(crate) fn read<T>(&self, info: &Info, read: impl FnOnce(&[u8]) -> T) -> T {
        self.content.read(info.from..info.to, read)
    }
}

type Parsed = (BTreeMap<String, Value>, BTreeMap<String, Info>);

/// The header, or what is wrong with it.
fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let mut reader = Reader { bytes, at: 0, values: 0 };
    if reader.take(MAGIC.len()) != Ok(MAGIC) {
        return Err("not a GGUF file (it does not begin with `GGUF`)".into());
    }
    match reader.u32()? {
        2 | 3 => (),
        version if version.swap_bytes() <= 3 => return Err("a GGUF file in big-endian order".into()),
        version => return Err(format!("GGUF of version {version}, expected 2 or 3")),
    }
    let (tensors, pairs) = (reader.u64()?, reader.u64()?);
    if tensors > MAX_TENSORS {
        return Err(format!("{tensors} tensors, expected at most {MAX_TENSORS}"));
    }
    let mut metadata = BTreeMap::new();
    for _ in 0..pairs {
        let key = reader.text()?;
        let kind = reader.u32()?;
        let value = reader.value(kind, 0).map_err(|reason| format!("`{key}`: {reason}"))?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(format!("`{key}` is there twice"));
        }
    }
    let alignment = match metadata.get("general.alignment") {
        None => ALIGNMENT,
        Some(&Value::Natural(n)) if n.is_power_of_two() && n <= 1 << 20 => n,
        Some(other) => return Err(format!("`general.alignment` is {other:?}, expected a power of two")),
    };
    let stated = (0..tensors).map(|_| reader.tensor()).collect::<Result<Vec<_>, _>>()?;
    let start = (reader.at as u64).next_multiple_of(alignment);
    let mut places = BTreeMap::new();
    for tensor in stated {
        let name = tensor.name.clone();
        let info =
            tensor.place(start, alignment, bytes.len()).map_err(|e| format!("tensor `{name}`: {e}"))?;
        if places.insert(name.clone(), info).is_some() {
            return Err(format!("tensor `{name}` is there twice"));
        }
    }
    Ok((metadata, places))
}

/// A tensor as the header states it.
struct Stated {
    name: String,
    shape: Vec<usize>,
    kind: u32,
    offset: u64,
}

impl Stated {
    fn place(self, start: u64, alignment: u64, length: usize) -> Result<Info, String> {
        let Stated { shape, kind, offset, .. } = self;
        let blocks = match Blocks::of(kind) {
            Ok(blocks) => blocks,
            // Refused if the model needs it.
            Err(name) => return Ok(Info { shape, blocks: Err(name), from: 0, to: 0 }),
        };
        if !offset.is_multiple_of(alignment) {
            return Err(format!("offset {offset} is no multiple of {alignment}"));
        }
        let row = shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(blocks.values()) {
            return Err(format!("rows of {row} values, expected a multiple of {}", blocks.values()));
        }
        let values = shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
        let size = values.and_then(|n| (n / blocks.values()).checked_mul(blocks.bytes()));
        let from = start.checked_add(offset).and_then(|from| usize::try_from(from).ok());
        let range = from.zip(size).and_then(|(from, size)| Some((from, from.checked_add(size)?)));
        match range {
            Some((from, to)) if to <= length => Ok(Info { shape, blocks: Ok(blocks), from, to }),
            _ => Err(format!("it ends beyond the file's {length} bytes: the file is truncated or damaged")),
        }
    }
}

/// Reads the header from front to back.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Values read so far.
    values: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..count) else {
            let length = self.bytes.len();
            return Err(format!(
                "the header goes beyond the file's {length} bytes: it is truncated or damaged"
            ));
        };
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.take(N)?.try_into().expect("as many bytes as asked for"))
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, String> {
        let length = self.u64()?;
        // A length beyond the file is found by `take`.
        let bytes = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        String::from_utf8(bytes.to_vec()).map_err(|_| "a text that is not UTF-8".into())
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value, String> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values in the metadata"));
        }
        Ok(match kind {
            0 => Value::Natural(self.array::<1>()?[0].into()),
            1 => Value::Integer(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Natural(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Natural(self.u32()?.into()),
            5 => Value::Integer(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Real(decimal(f32::from_le_bytes(self.array()?))),
            7 => match self.array()? {
                [0] => Value::Flag(false),
                [1] => Value::Flag(true),
                [other] => return Err(format!("a truth value of {other}, expected 0 or 1")),
            },
            8 => Value::Text(self.text()?),
            9 if depth >= MAX_DEPTH => return Err(format!("lists in lists, more than {MAX_DEPTH} deep")),
            9 => self.list(depth)?,
            10 => Value::Natural(self.u64()?),
            11 => Value::Integer(i64::from_le_bytes(self.array()?)),
            12 => Value::Real(f64::from_le_bytes(self.array()?)),
            other => return Err(format!("a value of type {other}, expected 0 to 12")),
        })
    }

    /// Every value takes a byte at least, so a length that is not true ends with the file.
    fn list(&mut self, depth: usize) -> Result<Value, String> {
        let (kind, length) = (self.u32()?, self.u64()?);
        let mut list = Vec::new();
        for _ in 0..length {
            list.push(self.value(kind, depth + 1)?);
        }
        Ok(Value::List(list))
    }

    fn tensor(&mut self) -> Result<Stated, String> {
        let name = self.text()?;
        let extents = self.u32()?;
        if extents > MAX_EXTENTS {
            return Err(format!("tensor `{name}`: {extents} extents, expected at most {MAX_EXTENTS}"));
        }
        let mut shape = Vec::new();
        for _ in 0..extents {
            let extent = self.u64()?;
            shape.push(usize::try_from(extent).map_err(|_| format!("tensor `{name}`: extent {extent}"))?);
        }
        shape.reverse();
        Ok(Stated { name, shape, kind: self.u32()?, offset: self.u64()? })
    }
}

/// The shortest decimal number that reads as `x`: a writer's `1e-5` is `1e-5` again.
fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}
