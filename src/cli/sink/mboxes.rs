//! Writing a directory of mbox files, one for each mailbox: `OUT/<levels of the mailbox>.mbox`.
//!
//! Levels are spelled as in the `eml` format, where `.` becomes `%2E`: so no directory is called as a file is, and
//! `A/B` lies beside `A` as `A/B.mbox` and `A.mbox`.

use std::path::Path;

use super::directory::{Directory, bounded};
use super::eml::{enter_levels, level_name};
use super::{MboxSink, Outgoing, SinkError, Written};

/// A directory of mbox files that is being written, mailbox after mailbox.
pub(crate) struct MboxesSink {
    root: Directory,
    open: Option<(Vec<String>, MboxSink)>,
}

impl MboxesSink {
    /// Creates the directory, or takes it when it is empty.
    ///
    /// # Errors
    ///
    /// `NotEmpty`, `Io`.
    pub(crate) fn create(out: &Path) -> Result<Self, SinkError> {
        Ok(Self {
            root: Directory::create(out)?,
            open: None,
        })
    }

    /// Ends the mailbox before and creates the file of this one, which may stay without messages.
    ///
    /// # Errors
    ///
    /// `Io`, also when the mailbox was written before.
    pub(crate) fn begin(&mut self, folder: &[String]) -> Result<(), SinkError> {
        if let Some((_, sink)) = self.open.take() {
            sink.finish()?;
        }
        let (leaf, above) = folder
            .split_last()
            .map_or(("", folder), |(leaf, above)| (leaf.as_str(), above));
        // Room for the ending must remain, also in a name that is cut.
        let name = format!("{}.mbox", level_name(leaf));
        let name = bounded(name, folder);
        let (file, path) = if above.is_empty() {
            self.root.create_file(&name)?
        } else {
            enter_levels(&self.root, above)?.create_file(&name)?
        };
        self.open = Some((folder.to_vec(), MboxSink::on(file, path)));
        Ok(())
    }

    /// Appends a message to the file of its mailbox.
    ///
    /// # Errors
    ///
    /// `Io`: then no more can be written to that mailbox.
    pub(crate) fn put(&mut self, message: &Outgoing<'_>) -> Result<Written, SinkError> {
        if self
            .open
            .as_ref()
            .is_none_or(|(folder, _)| folder != message.folder)
        {
            self.begin(message.folder)?;
        }
        match &mut self.open {
            Some((_, sink)) => sink.put(message),
            // `begin` has just opened it.
            None => Err(SinkError::io("write", Path::new("mbox"))(
                std::io::Error::other("no file is open"),
            )),
        }
    }

    /// Writes what is buffered and makes all of it durable.
    ///
    /// # Errors
    ///
    /// `Io`: then it must not be relied on.
    pub(crate) fn finish(self) -> Result<(), SinkError> {
        if let Some((_, sink)) = self.open {
            sink.finish()?;
        }
        self.root.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(text: &str) -> Vec<String> {
        text.split('/').map(str::to_owned).collect()
    }

    #[test]
    fn a_file_for_each_mailbox() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("out");
        let mut sink = MboxesSink::create(&out).unwrap();
        for name in ["INBOX", "A", "A/B", "A.mbox/B", "../x"] {
            let folder = levels(name);
            sink.begin(&folder).unwrap();
            for uid in 1..=2 {
                sink.put(&Outgoing {
                    raw: b"mail\n",
                    received: 0,
                    flags: &[],
                    folder: &folder,
                    uid,
                })
                .unwrap();
            }
        }
        sink.begin(&levels("Empty")).unwrap();
        let again = sink.begin(&levels("A"));
        assert!(matches!(again, Err(SinkError::Io { op: "create", .. })));
        sink.finish().unwrap();
        for name in ["INBOX", "A", "A/B", "A%2Embox/B", "%2E%2E/x"] {
            let file = std::fs::read(out.join(format!("{name}.mbox"))).unwrap();
            let from = b"From MAILER-DAEMON Thu Jan  1 00:00:00 1970\nmail\n\n";
            assert_eq!(file, from.repeat(2), "{name}");
        }
        assert_eq!(std::fs::read(out.join("Empty.mbox")).unwrap(), b"");
    }

    #[test]
    fn a_long_name_fits() {
        let root = tempfile::tempdir().unwrap();
        let mut sink = MboxesSink::create(&root.path().join("out")).unwrap();
        sink.begin(&["\u{e9}".repeat(127)]).unwrap();
        sink.begin(&["x".repeat(255)]).unwrap();
    }
}
