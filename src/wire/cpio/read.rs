//! Reading an initramfs from bytes that may be hostile.

use std::io::{self, BufRead as _, BufReader};

use flate2::bufread::GzDecoder;

use super::{CpioError, FILE, FILE_TYPE, FOLDER, Field, HEADER, LINK, LONGEST_NAME, TRAILER, padding};

/// One member of an archive, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path without leading `/` or `./`; empty for the root folder itself.
    pub name: String,
    /// Kind and permissions, as in `stat(2)`.
    pub mode: u32,
    /// Last change, in seconds since 1970.
    pub mtime: u32,
    /// Length of the content, in bytes.
    pub size: u64,
}

impl Entry {
    /// Whether this is a regular file.
    #[must_use]
    pub const fn is_file(&self) -> bool {
        self.mode & FILE_TYPE == FILE
    }

    /// Whether this is a folder.
    #[must_use]
    pub const fn is_folder(&self) -> bool {
        self.mode & FILE_TYPE == FOLDER
    }

    /// Whether this is a symbolic link; its content is the target.
    #[must_use]
    pub const fn is_link(&self) -> bool {
        self.mode & FILE_TYPE == LINK
    }
}

/// Reads the members of all archives of an initramfs in order, as the kernel does: zeros between archives are skipped,
/// a compressed archive may start at any byte, a raw one only at a multiple of four (INIT-20). Nothing is kept but the
/// member at hand. A member's checksum (magic 070702) is not compared; an archive that spans gzip members is refused.
#[derive(Debug)]
pub struct Reader<'a> {
    input: &'a [u8],
    /// Where in the input the next raw byte is, or where the gzip member at hand began.
    at: usize,
    /// The gzip member at hand; `None` while reading the input as it is.
    gzip: Option<Box<BufReader<GzDecoder<&'a [u8]>>>>,
    /// Whether the next byte belongs to an archive that has begun.
    inside: bool,
    /// What remains of the member at hand.
    content: u64,
    padding: u64,
    members: u64,
    limit: u64,
    left: u64,
}

impl<'a> Reader<'a> {
    /// A reader of `input`, which stops with an error once it has unpacked more than `limit` bytes.
    #[must_use]
    pub const fn new(input: &'a [u8], limit: u64) -> Self {
        Self { input, at: 0, gzip: None, inside: false, content: 0, padding: 0, members: 0, limit, left: limit }
    }

    /// The next member, or `None` after the last archive. Content of the one before that was not read is skipped.
    ///
    /// # Errors
    /// When the bytes are not an initramfs, or unpack to more than the limit. The reader is of no use afterwards.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, CpioError> {
        loop {
            self.skip_content()?;
            if !self.inside && !self.open_archive()? {
                return Ok(None);
            }
            let entry = self.header()?;
            if entry.name != TRAILER {
                return Ok(Some(entry));
            }
            self.inside = false;
        }
    }

    /// The content of the member that [`Reader::next_entry`] gave last, once.
    ///
    /// # Errors
    /// When it has more than `limit` bytes, or the archive ends within it.
    pub fn content(&mut self, entry: &Entry, limit: u64) -> Result<Vec<u8>, CpioError> {
        if self.content > limit {
            return Err(CpioError::Content { name: entry.name.clone(), size: self.content, limit });
        }
        let mut bytes = Vec::new();
        self.pull(self.content, Field::Content, |piece| bytes.extend_from_slice(piece))?;
        self.content = 0;
        Ok(bytes)
    }

    fn skip_content(&mut self) -> Result<(), CpioError> {
        self.pull(self.content, Field::Content, |_| ())?;
        self.pull(self.padding, Field::Content, |_| ())?;
        (self.content, self.padding) = (0, 0);
        Ok(())
    }

    /// Steps over zeros to the first byte of the next archive, into and out of gzip members; `false` at the end.
    fn open_archive(&mut self) -> Result<bool, CpioError> {
        loop {
            if self.gzip.is_some() {
                if self.skip_zeros()? {
                    break;
                }
                let rest = self.gzip.take().map_or(0, |it| it.into_inner().into_inner().len());
                self.at = self.input.len() - rest;
                continue;
            }
            if !self.skip_zeros()? {
                return Ok(false);
            }
            let rest = self.rest();
            if rest.starts_with(&[0x1f, 0x8b]) {
                self.gzip = Some(Box::new(BufReader::new(GzDecoder::new(rest))));
            } else if !rest.starts_with(b"07070") {
                return Err(CpioError::Unknown { offset: self.at });
            } else if !self.at.is_multiple_of(4) {
                return Err(CpioError::Misaligned { offset: self.at });
            } else {
                break;
            }
        }
        self.inside = true;
        Ok(true)
    }

    /// Whether anything but zeros follows; the zeros are then behind us.
    fn skip_zeros(&mut self) -> Result<bool, CpioError> {
        loop {
            let bytes = self.fill(Field::End)?;
            if bytes.is_empty() {
                return Ok(false);
            }
            let zeros = bytes.iter().position(|byte| *byte != 0);
            let length = zeros.unwrap_or(bytes.len());
            self.consume(length);
            self.charge(length as u64)?;
            if zeros.is_some() {
                return Ok(true);
            }
        }
    }

    /// Reads a member's header and name.
    fn header(&mut self) -> Result<Entry, CpioError> {
        self.members += 1;
        let member = self.members;
        let mut header = Vec::with_capacity(HEADER);
        self.pull(HEADER as u64, Field::Header, |piece| header.extend_from_slice(piece))?;
        let numbers = header
            .strip_prefix(b"070701")
            .or_else(|| header.strip_prefix(b"070702"))
            .ok_or(CpioError::Magic { member })?;
        let mut numbers = numbers.as_chunks::<8>().0.iter().map(number);
        let mut next = || numbers.next().flatten().ok_or(CpioError::Number { member });
        let [_inode, mode, _uid, _gid, _links, mtime, size] =
            [next()?, next()?, next()?, next()?, next()?, next()?, next()?];
        let [_major, _minor, _device_major, _device_minor, name_size, _check] =
            [next()?, next()?, next()?, next()?, next()?, next()?];
        if name_size as usize > LONGEST_NAME {
            return Err(CpioError::Name { member, name: format!("({name_size} bytes)") });
        }
        let mut name = Vec::new();
        self.pull(u64::from(name_size), Field::Name, |piece| name.extend_from_slice(piece))?;
        self.pull(padding(HEADER as u64 + u64::from(name_size)), Field::Name, |_| ())?;
        let name = path_inside(&name).ok_or_else(|| CpioError::Name {
            member,
            name: String::from_utf8_lossy(&name).chars().take(80).collect(),
        })?;
        (self.content, self.padding) = (u64::from(size), padding(u64::from(size)));
        Ok(Entry { name, mode, mtime, size: u64::from(size) })
    }

    /// Gives the next `length` bytes of the archive to `each`, in pieces.
    fn pull(&mut self, length: u64, field: Field, mut each: impl FnMut(&[u8])) -> Result<(), CpioError> {
        self.charge(length)?;
        let mut left = length;
        while left > 0 {
            let bytes = self.fill(field)?;
            let piece = bytes.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(bytes);
            if piece.is_empty() {
                return Err(self.cut(field, io::ErrorKind::UnexpectedEof.into()));
            }
            let length = piece.len();
            each(piece);
            self.consume(length);
            left -= length as u64;
        }
        Ok(())
    }

    /// Some of the bytes that come next; none at the end of the gzip member or the input.
    fn fill(&mut self, field: Field) -> Result<&[u8], CpioError> {
        let member = self.members;
        match &mut self.gzip {
            Some(reader) => reader.fill_buf().map_err(|source| CpioError::Cut { field, member, source }),
            None => Ok(self.input.get(self.at..).unwrap_or_default()),
        }
    }

    fn consume(&mut self, length: usize) {
        match &mut self.gzip {
            Some(reader) => reader.consume(length),
            None => self.at += length,
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    /// Counts bytes against the limit before they are unpacked.
    const fn charge(&mut self, length: u64) -> Result<(), CpioError> {
        match self.left.checked_sub(length) {
            Some(left) => self.left = left,
            None => return Err(CpioError::TooLarge { limit: self.limit }),
        }
        Ok(())
    }

    const fn cut(&self, field: Field, source: io::Error) -> CpioError {
        CpioError::Cut { field, member: self.members, source }
    }
}

/// Eight hexadecimal digits of either case, and nothing else (`from_str_radix` would take a sign).
fn number(digits: &[u8; 8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
}

/// The name without its final zeros (one, or more where a writer aligns content to blocks) and without a leading `/`,
/// `./` or trailing `/`; `None` when it is empty, has a zero within, is not UTF-8 or steps upwards.
fn path_inside(name: &[u8]) -> Option<String> {
    let end = name.iter().rposition(|byte| *byte != 0)? + 1;
    let text = str::from_utf8(name.get(..end)?).ok().filter(|_| end < name.len())?;
    let parts: Vec<_> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!text.contains('\0') && !parts.contains(&"..")).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::cpio::Writer;
    use crate::wire::gzip::gzip;

    const LIMIT: u64 = 1 << 20;

    fn archive(name: &str, content: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new(7);
        writer.file(name, 0o644, content).unwrap();
        writer.finish()
    }

    /// All regular files with their content.
    fn files(input: &[u8], limit: u64) -> Result<Vec<(String, Vec<u8>)>, CpioError> {
        let mut reader = Reader::new(input, limit);
        let mut files = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            if entry.is_file() {
                let content = reader.content(&entry, LIMIT)?;
                files.push((entry.name, content));
            }
        }
        Ok(files)
    }

    fn refusal(input: &[u8]) -> String {
        files(input, LIMIT).unwrap_err().to_string()
    }

    /// One member as another program writes it, with a header field of choice.
    fn member(name: &[u8], name_size: usize, size: &str) -> Vec<u8> {
        let mut bytes = format!("070701{:08X}{:08X}{}{size}", 1, 0o100_644, "0".repeat(32)).into_bytes();
        bytes.extend(format!("{}{name_size:08X}{:08X}", "0".repeat(32), 0).into_bytes());
        assert_eq!(bytes.len(), HEADER);
        bytes.extend(name);
        bytes.extend(vec![0; padding(bytes.len() as u64) as usize]);
        bytes
    }

    /// What GNU cpio 2.13 wrote, up to its final zeros:
    /// `printf hi >a; touch -d @1727085056 a; ln -s a l; printf 'a\nl\n' | cpio -o -H newc`.
    const GNU_CPIO: &str = concat!(
        "07070100990017000081A400000000000000000000000166F13A0000000002000000FE000000000000000000000000",
        "0000000200000000a\0hi\0\0",
        "070701009900180000A1FF0000000000000000000000016B00510400000001000000FE000000000000000000000000",
        "0000000200000000l\0a\0\0\0",
        "07070100000000000000000000000000000000000000010000000000000000000000000000000000000000",
        "000000000000000B00000000TRAILER!!!",
    );

    #[test]
    fn an_archive_of_gnu_cpio_is_read() {
        let mut raw = GNU_CPIO.as_bytes().to_vec();
        raw.resize(512, 0);
        for input in [raw.clone(), gzip(&raw)] {
            let mut reader = Reader::new(&input, LIMIT);
            let file = reader.next_entry().unwrap().unwrap();
            assert_eq!(file, Entry { name: "a".to_owned(), mode: 0o100_644, mtime: 1_727_085_056, size: 2 });
            assert_eq!(reader.content(&file, 2).unwrap(), b"hi");
            let link = reader.next_entry().unwrap().unwrap();
            assert!(link.is_link() && !link.is_file() && !link.is_folder());
            assert_eq!(reader.content(&link, 9).unwrap(), b"a");
            assert_eq!(reader.next_entry().unwrap(), None);
        }
    }

    #[test]
    fn archives_one_after_the_other_are_one_file_system() {
        let (one, two, three) = (archive("one", b"1"), archive("two", b"22"), archive("three", b"333"));
        let mut odd = gzip(&one);
        while odd.len() % 4 != 1 {
            odd.push(0);
        }
        let inputs = [
            [one.clone(), two.clone(), three.clone()].concat(),
            [one.clone(), vec![0; 8], gzip(&two), gzip(&three)].concat(),
            [odd, gzip(&[two.clone(), vec![0; 100], three.clone()].concat())].concat(),
        ];
        for input in inputs {
            let names: Vec<_> = files(&input, LIMIT).unwrap().into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, ["one", "two", "three"]);
        }
    }

    #[test]
    fn a_raw_archive_off_the_grid_is_refused_because_the_kernel_misses_it() {
        let input = [archive("one", b"1"), vec![0; 2], archive("two", b"2")].concat();
        let offset = archive("one", b"1").len() + 2;
        assert_eq!(
            refusal(&input),
            format!(
                "the raw archive at offset {offset} does not begin at a multiple of 4 bytes; the kernel would not see it"
            )
        );
    }

    #[test]
    fn names_are_made_relative_and_upward_ones_are_refused() {
        for (name, plain) in [("/init", "init"), ("./etc//apk/", "etc/apk"), (".", "")] {
            let bytes = format!("{name}\0");
            let input = member(bytes.as_bytes(), bytes.len(), "00000000");
            assert_eq!(Reader::new(&input, LIMIT).next_entry().unwrap().unwrap().name, plain);
        }
        let aligned = member(b"init\0\0\0\0", 8, "00000000");
        assert_eq!(Reader::new(&aligned, LIMIT).next_entry().unwrap().unwrap().name, "init");
        for wrong in [b"../x\0".as_slice(), b"a/../../x\0", b"a\0b\0", b"\xff\0", b"\0", b"", b"endless"] {
            let input = member(wrong, wrong.len(), "00000000");
            assert!(matches!(Reader::new(&input, LIMIT).next_entry(), Err(CpioError::Name { .. })), "{wrong:?}");
        }
        assert_eq!(
            refusal(&member(b"../x\0", 5, "00000000")),
            r#"member 1 has the name "../x\0", which is not a path inside the archive"#
        );
        assert_eq!(
            refusal(&member(b"x\0", 4097, "00000000")),
            "member 1 has the name \"(4097 bytes)\", which is not a path inside the archive"
        );
    }

    #[test]
    fn each_cut_off_part_is_named() {
        let whole = archive("some/name", b"content");
        // Member 1 is the folder `some`: header 110, name 5, zeros to 116.
        for (length, field, member) in
            [(50, "the header", 1), (112, "the name", 1), (116 + 100, "the header", 2), (116 + 115, "the name", 2)]
        {
            assert_eq!(
                refusal(&whole[..length]),
                format!("the archive is cut off or damaged in {field} of member {member}")
            );
        }
        assert_eq!(refusal(&whole[..116 + 120 + 3]), "the archive is cut off or damaged in the content of member 2");
        assert_eq!(refusal(&whole[..116 + 120 + 8]), "the archive is cut off or damaged in the header of member 3");
        let packed = gzip(&whole);
        assert_eq!(refusal(&packed[..packed.len() - 5]), "the archive is cut off or damaged in the end of member 3");
    }

    #[test]
    fn what_is_no_archive_is_refused_by_its_place() {
        assert_eq!(refusal(b"\0\0\0<html>"), "the bytes at offset 3 are neither a cpio newc archive nor gzip");
        assert_eq!(refusal(&gzip(&[b'<'; 200])), "member 1 does not begin with a cpio newc header");
        assert_eq!(refusal(&member(b"x\0", 2, "+0000001")), "a number in the header of member 1 is not hexadecimal");
        let mut later = archive("one", b"1");
        later.extend(b"\x28\xb5\x2f\xfd");
        assert_eq!(
            refusal(&later),
            format!("the bytes at offset {} are neither a cpio newc archive nor gzip", later.len() - 4)
        );
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let limit = "the archive unpacks to more than 1048576 bytes";
        let large = member(b"x\0", 2, "FFFFFFFF");
        let mut reader = Reader::new(&large, LIMIT);
        reader.next_entry().unwrap();
        assert_eq!(reader.next_entry().unwrap_err().to_string(), limit);
        assert_eq!(refusal(&gzip(&vec![0; 2 << 20])), limit);
    }

    #[test]
    fn content_beyond_what_was_asked_for_is_not_read() {
        let input = archive("key", &[b'k'; 100]);
        let mut reader = Reader::new(&input, LIMIT);
        let entry = reader.next_entry().unwrap().unwrap();
        assert_eq!(
            reader.content(&entry, 99).unwrap_err().to_string(),
            "`key` in the archive has 100 bytes, more than the 99 allowed"
        );
        assert_eq!(reader.content(&entry, 100).unwrap(), [b'k'; 100]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, at in 0_usize..400, packed: bool) {
            let _ = files(&bytes, LIMIT);
            let mut damaged = [archive("a/b", b"content"), archive("c", b"")].concat();
            let at = at.min(damaged.len());
            damaged.splice(at..(at + bytes.len()).min(damaged.len()), bytes);
            let _ = files(&if packed { gzip(&damaged) } else { damaged }, LIMIT);
        }

        #[test]
        fn what_was_written_is_read(
            names in proptest::collection::btree_map("[a-z]{1,9}(/[a-z0-9._]{0,9}[a-z]){0,2}", any::<Vec<u8>>(), 0..6),
            packed: bool,
        ) {
            let mut writer = Writer::new(0);
            let kept: Vec<_> = names.into_iter().filter(|(name, content)| writer.file(name, 0o600, content).is_ok()).collect();
            let bytes = writer.finish();
            let mut found = files(&if packed { gzip(&bytes) } else { bytes }, LIMIT).unwrap();
            found.sort();
            prop_assert_eq!(found, kept);
        }
    }
}
