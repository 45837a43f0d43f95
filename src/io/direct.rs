//! Reading, and that around the system's memory, where it refuses more than the medium does: it reads many pages at a time,
//! and gives none of them where one is bad.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::{pread, retry_on_intr};

use super::is_of_the_medium;

/// No device asks for more: offset, length and memory of a direct read lie at multiples of it.
pub(super) const PAGE: usize = 4096;

/// Fills `buf` from `offset` on until the file ends; how much there was.
pub(super) fn read_into(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(filled as u64);
        let read = retry_on_intr(|| pread(file, &mut *rest, at));
        match or_direct(read, file, rest, at)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// What became of a read: where the medium failed, the same bytes page by page from the medium itself. `buf` is what was
/// to be filled from `offset` on. Any other error, and that of a page that the medium refuses, is passed on.
pub(super) fn or_direct(
    read: rustix::io::Result<usize>,
    file: &File,
    buf: &mut [u8],
    offset: u64,
) -> io::Result<usize> {
    match read.map_err(io::Error::from) {
        Err(error) if is_of_the_medium(&error) => match open(file) {
            Ok(direct) => read_pages(&direct, buf, offset),
            // Not every file system can.
            Err(_) => Err(error),
        },
        other => other,
    }
}

/// The same file once more, without the system's memory.
fn open(file: &File) -> rustix::io::Result<std::os::fd::OwnedFd> {
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    let how = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::open(name.as_str(), how, Mode::empty()))
}

/// Fills `buf` until the file ends, a page at a time: offset, length and memory lie at whole pages, as they must.
fn read_pages(direct: &std::os::fd::OwnedFd, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut space = vec![0; 2 * PAGE];
    let skip = space.as_ptr().align_offset(PAGE).min(PAGE);
    let page = space.get_mut(skip..skip + PAGE).unwrap_or_default();
    let mut filled = 0;
    while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(filled as u64);
        let inside = usize::try_from(at % PAGE as u64).unwrap_or(0);
        let read = retry_on_intr(|| pread(direct, &mut *page, at - inside as u64))?;
        let Some(found) = page.get(inside..read).filter(|found| !found.is_empty()) else {
            break;
        };
        for (to, from) in rest.iter_mut().zip(found) {
            *to = *from;
        }
        filled += found.len().min(rest.len());
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Goal: whatever the offset and length, the bytes are the file's, cut to what there is.
    #[test]
    fn any_range_is_read() {
        let content: Vec<u8> = (0..3 * PAGE + 77).map(|at| (at % 251) as u8).collect();
        let mut file = tempfile::tempfile_in(".").unwrap();
        file.write_all(&content).unwrap();
        let failed = || Err(rustix::io::Errno::IO);
        for offset in [
            0,
            1,
            PAGE - 1,
            PAGE,
            2 * PAGE + 5,
            3 * PAGE + 76,
            3 * PAGE + 77,
            9 * PAGE,
        ] {
            for len in [0, 1, 100, PAGE, 2 * PAGE + 1, 5 * PAGE] {
                let mut buf = vec![9; len];
                let read = or_direct(failed(), &file, &mut buf, offset as u64).unwrap();
                let end = content.len().min(offset + len);
                let expected = content.get(offset..end).unwrap_or_default();
                assert_eq!(&buf[..read], expected, "{len} at {offset}");
            }
        }
    }

    /// Goal: only what the medium refused is asked again.
    #[test]
    fn other_errors_are_passed_on() {
        let file = tempfile::tempfile().unwrap();
        let mut buf = [0; 4];
        let read = or_direct(Err(rustix::io::Errno::NOMEM), &file, &mut buf, 0);
        assert_eq!(read.unwrap_err().raw_os_error(), Some(12));
        assert_eq!(or_direct(Ok(3), &file, &mut buf, 0).unwrap(), 3);
    }
}
