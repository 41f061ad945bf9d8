//! The members of an archive one after the other, their extension headers resolved, nothing believed.

use std::io::{self, BufRead, Read as _};

use bytes::Bytes;

use super::error::{HeaderFault, Problem};
use super::extension::Extension;
use super::header::{self, Header, POSIX};
use super::name::printable;
use super::stream::{NoStream, Stream};
use super::{BLOCK, Limits};
use crate::model::profile::Owner;

/// The largest extension header read: room for an attribute of the largest size Linux has (64 KiB) and then some.
const LARGEST_EXTENSION: u64 = 256 << 10;

/// How many extension headers a member may have. PAX, GNU name and GNU target make three.
const MOST_EXTENSIONS: usize = 8;

/// A member as it stands in the archive.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub(super) mode: u32,
    /// The owner in the header.
    pub(super) owner: Owner,
    /// The owner in the PAX records, where they have one, and in the header, where not.
    pub(super) record: Owner,
    /// The names of user and group in the header.
    pub(super) owner_names: [Vec<u8>; 2],
    pub(super) attributes: Vec<String>,
    /// The folder that a reader which knows no difference between GNU's header and POSIX's puts it in.
    pub(super) prefix: Option<Vec<u8>>,
}

/// What a member is.
#[derive(Debug)]
pub(super) enum Kind {
    File(Bytes),
    Directory,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

/// A walk over an archive.
#[derive(Debug)]
pub(super) struct Members<R> {
    stream: Stream<R>,
    limit: u64,
    /// What holds for all members to come.
    global: Extension,
    /// The member being read, for messages.
    current: String,
    count: u64,
    zeros: usize,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(source: R, limits: &Limits) -> Result<Self, Problem> {
        let (global, current) = (Extension::default(), "its first member".to_owned());
        let stream = Stream::new(source, limits.unpacked).map_err(|why| match why {
            NoStream::Foreign(looks) => Problem::NotGzip { looks },
            NoStream::Unread(source) => Problem::Damaged { member: current.clone(), source },
        })?;
        Ok(Self { stream, limit: limits.unpacked, global, current, count: 0, zeros: 0 })
    }

    /// The member read last, for messages.
    pub(super) fn current(&self) -> String {
        self.current.clone()
    }

    /// The next member; none at the end of the archive, which is two zero blocks or the end of the bytes. Init's tar
    /// passes over a single zero block.
    pub(super) fn next(&mut self) -> Result<Option<Member>, Problem> {
        let mut extension = self.global.clone();
        let mut extensions = 0;
        while self.zeros < 2 {
            let Some(block) = self.block()? else {
                return if extensions == 0 { Ok(None) } else { Err(Problem::Cut { member: self.current() }) };
            };
            if block.iter().all(|byte| *byte == 0) {
                self.zeros += 1;
                continue;
            }
            self.zeros = 0;
            self.count += 1;
            self.current = format!("member {}", self.count);
            let header = Header::decode(&block);
            if header::parse(&header.checksum) != Some(header.sum()) {
                return Err(self.wrong(HeaderFault::Checksum));
            }
            let size = self.number(&header.size)?;
            if !matches!(header.kind, b'x' | b'g' | b'L' | b'K' | b'V') {
                return self.member(&header, size, extension).map(Some);
            }
            extensions += 1;
            if size > LARGEST_EXTENSION || extensions > MOST_EXTENSIONS {
                return Err(self.wrong(HeaderFault::Extensions));
            }
            let content = self.content(size)?;
            let name = || header::text(&content).to_vec();
            match header.kind {
                b'L' => extension.path = Some(name()),
                b'K' => extension.link = Some(name()),
                b'x' => extension.take(&content).map_err(|fault| self.wrong(fault))?,
                b'g' => {
                    self.global.take(&content).map_err(|fault| self.wrong(fault))?;
                    if self.global.is_of_one() {
                        return Err(self.wrong(HeaderFault::Extension));
                    }
                    (extension.uid, extension.gid) =
                        (extension.uid.or(self.global.uid), extension.gid.or(self.global.gid));
                }
                // A label of the archive, which init's tar passes over.
                _ => {}
            }
        }
        Ok(None)
    }

    /// Reads what follows the archive, so that a damaged stream is noticed; whether it is more than zeros, and whether
    /// the archive ended as it has to.
    pub(super) fn finish(mut self) -> Result<End, Problem> {
        let mut buffer = vec![0; 64 << 10];
        let mut has_rest = false;
        loop {
            let length = self.stream.read(&mut buffer).map_err(|error| self.failed(error))?;
            if length == 0 {
                break;
            }
            has_rest |= buffer.iter().take(length).any(|byte| *byte != 0);
        }
        Ok(End { is_proper: self.zeros == 2, has_rest: has_rest || self.stream.has_garbage() })
    }

    fn member(&mut self, header: &Header, size: u64, extension: Extension) -> Result<Member, Problem> {
        let is_posix = header.magic.starts_with(POSIX);
        let prefix = header::text(&header.prefix);
        let mut name = header::text(&header.name).to_vec();
        if is_posix && !prefix.is_empty() {
            name = [prefix, &name].join(b"/".as_slice());
        }
        let prefix = (!is_posix && !prefix.is_empty() && extension.path.is_none()).then(|| prefix.to_vec());
        let name = extension.path.unwrap_or(name);
        if name.is_empty() {
            return Err(self.wrong(HeaderFault::Name));
        }
        self.current = format!("`{}`", printable(&name));
        if extension.is_sparse || header.kind == b'S' {
            return Err(Problem::Sparse { member: self.current() });
        }
        if extension.size.is_some_and(|it| it != size) {
            return Err(self.wrong(HeaderFault::Extension));
        }
        let mode = u32::try_from(self.number(&header.mode)? & 0o7777).unwrap_or_default();
        let owner = Owner { uid: self.small(&header.uid)?, gid: self.small(&header.gid)? };
        let record = Owner { uid: extension.uid.unwrap_or(owner.uid), gid: extension.gid.unwrap_or(owner.gid) };
        let link = extension.link.unwrap_or_else(|| header::text(&header.link).to_vec());
        if link.is_empty() && matches!(header.kind, b'1' | b'2') {
            return Err(self.wrong(HeaderFault::Target));
        }
        let ends_in_slash = name.ends_with(b"/");
        let kind = match header.kind {
            // The oldest archives know directories by their slash alone. Of other files with one, some readers make
            // directories and some do not.
            0 if ends_in_slash && size == 0 => Kind::Directory,
            0 | b'0' | b'7' if ends_in_slash => return Err(self.wrong(HeaderFault::Name)),
            0 | b'0' | b'7' => Kind::File(self.content(size)?),
            // Some readers look for content here, others do not.
            b'1' if size != 0 => return Err(self.wrong(HeaderFault::Size)),
            b'1' => Kind::HardLink(link),
            b'2' => Kind::Symlink(link),
            b'3' => Kind::CharDevice { major: self.small(&header.major)?, minor: self.small(&header.minor)? },
            b'4' => Kind::BlockDevice { major: self.small(&header.major)?, minor: self.small(&header.minor)? },
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            kind => return Err(Problem::Kind { member: self.current(), kind }),
        };
        let owner_names = [&header.uname, &header.gname].map(|name| header::text(name).to_vec());
        let attributes = extension.attributes;
        Ok(Member { name, kind, mode, owner, record, owner_names, attributes, prefix })
    }

    /// The next block, or none at the end of the bytes.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Problem> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.stream.read(rest).map_err(|error| self.failed(error))? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(Problem::Cut { member: self.current() }),
                length => filled += length,
            }
        }
        Ok(Some(block))
    }

    /// Content of this length, and the zeros after it.
    fn content(&mut self, size: u64) -> Result<Bytes, Problem> {
        /// What is set aside for a content before any of it is there.
        const AT_FIRST: u64 = 1 << 20;
        let padded = size.checked_next_multiple_of(BLOCK as u64).filter(|it| *it <= self.stream.left());
        let padded = padded.ok_or_else(|| Problem::TooLarge { member: self.current(), limit: self.limit })?;
        let mut content = Vec::with_capacity(usize::try_from(size.min(AT_FIRST)).unwrap_or_default());
        let mut taken = 0;
        for length in [size, padded - size] {
            // What fills up the last block is read behind the content and cut off again.
            let read = (&mut self.stream).take(length).read_to_end(&mut content);
            taken += read.map_err(|error| self.failed(error))? as u64;
            content.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        }
        if taken != padded {
            return Err(Problem::Cut { member: self.current() });
        }
        Ok(content.into_boxed_slice().into())
    }

    fn number(&self, field: &[u8]) -> Result<u64, Problem> {
        header::parse(field).ok_or_else(|| self.wrong(HeaderFault::Number))
    }

    fn small(&self, field: &[u8]) -> Result<u32, Problem> {
        self.number(field)?.try_into().map_err(|_| self.wrong(HeaderFault::Number))
    }

    fn wrong(&self, fault: HeaderFault) -> Problem {
        Problem::Header { member: self.current(), fault }
    }

    fn failed(&self, source: io::Error) -> Problem {
        let member = self.current();
        if self.stream.is_exceeded() {
            Problem::TooLarge { member, limit: self.limit }
        } else if source.kind() == io::ErrorKind::UnexpectedEof {
            Problem::Cut { member }
        } else {
            Problem::Damaged { member, source }
        }
    }
}

/// How an archive ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// By two zero blocks.
    pub(super) is_proper: bool,
    /// And then went on with something other than zeros.
    pub(super) has_rest: bool,
}
