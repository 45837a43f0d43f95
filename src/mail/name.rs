//! Names of mailboxes.
//!
//! A name is data, never a path of the file system: `..`, `~` and `\` mean nothing here. What IMAP shows of a mailbox
//! name (a separator of its own, modified UTF-7) is a view that belongs to the server.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization as _;

const INBOX: &str = "INBOX";

/// Where a mailbox is in its account: levels, written with `/` between them.
///
/// A level is 1 to 255 bytes of UTF-8 in normal form C, without control characters, U+2028 and U+2029; the form is
/// applied, not demanded. A first level `inbox` is caseless and kept as `INBOX` (RFC 9051, 5.1). Names are ordered
/// level by level, so a mailbox is followed by all that is below it. Cloning shares the text.
///
/// ```
/// use mailkeep::mail::MailboxName;
///
/// let name = MailboxName::new("inbox/2026/Invoices")?;
/// assert_eq!(name.as_str(), "INBOX/2026/Invoices");
/// assert_eq!(name.leaf(), "Invoices");
/// assert_eq!(name.parent(), Some(MailboxName::inbox().child("2026")?));
/// assert!(name.starts_with(&MailboxName::inbox()));
/// # Ok::<(), mailkeep::mail::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MailboxName(Arc<str>);

impl MailboxName {
    /// Stands between two levels of the text.
    pub const SEPARATOR: char = '/';
    /// The most levels a name has.
    pub const LEVELS_MAX: usize = 64;
    /// The most bytes a level has, in normal form C.
    pub const LEVEL_LEN_MAX: usize = 255;

    /// The name `text`, whose levels have `/` between them.
    ///
    /// # Errors
    /// [`NameError`] says which level breaks which rule, and where.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        Self::from_levels(text.split(Self::SEPARATOR))
    }

    /// The name with these levels, the outermost first.
    ///
    /// # Errors
    /// [`NameError`] says which level breaks which rule, and where; a level may not contain `/`.
    pub fn from_levels<I: IntoIterator<Item: AsRef<str>>>(levels: I) -> Result<Self, NameError> {
        let mut text = String::new();
        let mut levels = levels.into_iter();
        for (index, level) in levels.by_ref().take(Self::LEVELS_MAX).enumerate() {
            push_level(&mut text, index, level.as_ref())?;
        }
        match levels.count() {
            0 if text.is_empty() => Err(NameError::Empty),
            0 => Ok(Self(text.into())),
            more => Err(NameError::TooManyLevels {
                count: Self::LEVELS_MAX + more,
                max: Self::LEVELS_MAX,
            }),
        }
    }

    /// The mailbox every account has: `INBOX`.
    #[must_use]
    pub fn inbox() -> Self {
        Self(INBOX.into())
    }

    /// Whether this is `INBOX` itself; what lies below it is not.
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        self.as_str() == INBOX
    }

    /// The name as text: its levels with `/` between them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels, the outermost first; at least one.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split(Self::SEPARATOR)
    }

    /// The last level.
    #[must_use]
    pub fn leaf(&self) -> &str {
        self.0
            .rsplit_once(Self::SEPARATOR)
            .map_or(self.as_str(), |(_, leaf)| leaf)
    }

    /// The name without its last level, or `None` at the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0
            .rsplit_once(Self::SEPARATOR)
            .map(|(parent, _)| Self(parent.into()))
    }

    /// The name one level below this one.
    ///
    /// # Errors
    /// [`NameError`] where `leaf` is no valid level, or this name has as many levels as a name can.
    pub fn child(&self, leaf: &str) -> Result<Self, NameError> {
        Self::from_levels(self.levels().chain([leaf]))
    }

    /// Whether this is `other`, or lies below it at any depth.
    ///
    /// ```
    /// use mailkeep::mail::MailboxName;
    ///
    /// let lists = MailboxName::new("lists")?;
    /// assert!(MailboxName::new("lists/rust")?.starts_with(&lists));
    /// assert!(!MailboxName::new("listserv")?.starts_with(&lists));
    /// # Ok::<(), mailkeep::mail::NameError>(())
    /// ```
    #[must_use]
    pub fn starts_with(&self, other: &Self) -> bool {
        let rest = self.0.strip_prefix(other.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(Self::SEPARATOR))
    }
}

/// Checks the level numbered `level`, and puts it at the end of `text` in its normal form.
fn push_level(text: &mut String, level: usize, given: &str) -> Result<(), NameError> {
    if let Some((index, found)) = given.char_indices().find(|(_, char)| is_refused(*char)) {
        return Err(match found {
            MailboxName::SEPARATOR => NameError::Separator { level, index },
            _ => NameError::Control {
                level,
                index,
                found,
            },
        });
    }
    if level > 0 {
        text.push(MailboxName::SEPARATOR);
    }
    let start = text.len();
    if level == 0 && given.eq_ignore_ascii_case(INBOX) {
        text.push_str(INBOX);
    } else {
        text.extend(given.nfc());
    }
    match text.len() - start {
        0 => Err(NameError::EmptyLevel { level }),
        len if len > MailboxName::LEVEL_LEN_MAX => Err(NameError::LevelTooLong {
            level,
            len,
            max: MailboxName::LEVEL_LEN_MAX,
        }),
        _ => Ok(()),
    }
}

/// Whether a level cannot hold `char`. RFC 9051 (5.1) and RFC 5198 forbid the separators of lines and paragraphs as well.
fn is_refused(char: char) -> bool {
    char == MailboxName::SEPARATOR || char.is_control() || matches!(char, '\u{2028}' | '\u{2029}')
}

impl PartialOrd for MailboxName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for MailboxName {
    /// Level by level: as plain text `a-b` would come between `a` and `a/b`.
    fn cmp(&self, other: &Self) -> Ordering {
        self.levels().cmp(other.levels())
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for MailboxName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

/// Why a text is not a [`MailboxName`]. Fix the text. Levels and bytes are counted from 0, bytes within the level as given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is nothing.
    #[error("mailbox name is empty")]
    Empty,
    /// Two separators follow one another, or one is at an end.
    #[error("level {level} of the mailbox name is empty")]
    EmptyLevel {
        /// Which level.
        level: usize,
    },
    /// A level has too many bytes.
    #[error("level {level} of the mailbox name has {len} bytes, at most {max} are allowed")]
    LevelTooLong {
        /// Which level.
        level: usize,
        /// Its length in bytes, in normal form C.
        len: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// The name is too deep.
    #[error("mailbox name has {count} levels, at most {max} are allowed")]
    TooManyLevels {
        /// How many levels there are.
        count: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// A level holds a control character, U+2028 or U+2029.
    #[error("level {level} of the mailbox name has control character U+{:04X} at byte {index}", u32::from(*found))]
    Control {
        /// Which level.
        level: usize,
        /// Where in the level, in bytes.
        index: usize,
        /// The character.
        found: char,
    },
    /// A level that was given alone holds a `/`.
    #[error("level {level} of the mailbox name has a separator at byte {index}")]
    Separator {
        /// Which level.
        level: usize,
        /// Where in the level, in bytes.
        index: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MailboxName {
        MailboxName::new(text).unwrap()
    }

    fn refusal(text: &str) -> String {
        MailboxName::new(text).unwrap_err().to_string()
    }

    /// Goal: names are data; nothing that a file system or a shell would read is special.
    #[test]
    fn names_are_data() {
        for text in [
            "..",
            ".",
            "~root/x",
            "a\\b",
            " ",
            "a ",
            "*%",
            "con",
            "\u{65e5}\u{672c}",
            "\u{feff}",
            "&-",
            "\"{",
        ] {
            assert_eq!(name(text).as_str(), text);
            assert_eq!(name(text).to_string().parse(), Ok(name(text)));
        }
    }

    /// Goal: INBOX is caseless at the root and nowhere else.
    #[test]
    fn inbox_is_caseless_at_the_root() {
        for text in ["INBOX", "inbox", "iNbOx"] {
            assert_eq!(name(text), MailboxName::inbox());
            assert!(name(text).is_inbox());
        }
        assert_eq!(name("Inbox/inbox").as_str(), "INBOX/inbox");
        assert!(!name("inbox/a").is_inbox());
        assert_eq!(name("a/inbox").as_str(), "a/inbox");
        assert_eq!(name("inbox2").as_str(), "inbox2");
    }

    /// Goal: two spellings of the same characters are one mailbox.
    #[test]
    fn normal_form_is_applied() {
        assert_eq!(name("cafe\u{301}"), name("caf\u{e9}"));
        assert_eq!(name("cafe\u{301}").as_str(), "caf\u{e9}");
    }

    /// Goal: 255 bytes count after normalisation, and the 256th is refused.
    #[test]
    fn levels_are_bounded() {
        assert_eq!(name(&"e\u{301}".repeat(127)).as_str().len(), 254);
        assert_eq!(name(&"x".repeat(255)).leaf().len(), 255);
        let long = format!("a/{}", "x".repeat(256));
        assert_eq!(
            refusal(&long),
            "level 1 of the mailbox name has 256 bytes, at most 255 are allowed"
        );
        // U+0958 grows under normalisation: 3 bytes become 6.
        assert_eq!(
            refusal(&"\u{958}".repeat(43)),
            "level 0 of the mailbox name has 258 bytes, at most 255 are allowed"
        );
    }

    /// Goal: 64 levels and not one more, however the name is built.
    #[test]
    fn depth_is_bounded() {
        let deepest = name(&["a"; 64].join("/"));
        assert_eq!(deepest.levels().count(), 64);
        assert_eq!(
            deepest.child("b"),
            Err(NameError::TooManyLevels { count: 65, max: 64 })
        );
        assert_eq!(
            refusal(&["a"; 70].join("/")),
            "mailbox name has 70 levels, at most 64 are allowed"
        );
    }

    /// Goal: empty names and levels are refused and located.
    #[test]
    fn nothing_is_no_name() {
        assert_eq!(refusal(""), "mailbox name is empty");
        assert_eq!(MailboxName::from_levels([""; 0]), Err(NameError::Empty));
        assert_eq!(refusal("/a"), "level 0 of the mailbox name is empty");
        assert_eq!(refusal("a//b"), "level 1 of the mailbox name is empty");
        assert_eq!(refusal("a/"), "level 1 of the mailbox name is empty");
        assert_eq!(name("a").child(""), Err(NameError::EmptyLevel { level: 1 }));
    }

    /// Goal: C0, DEL, C1 and the two separators of text are refused, their neighbours are not.
    #[test]
    fn control_characters_are_refused() {
        for found in [
            '\0', '\n', '\u{1f}', '\u{7f}', '\u{80}', '\u{9f}', '\u{2028}', '\u{2029}',
        ] {
            let expected = NameError::Control {
                level: 1,
                index: 2,
                found,
            };
            assert_eq!(MailboxName::new(&format!("a/\u{e9}{found}")), Err(expected));
        }
        for taken in [' ', '~', '\u{a0}', '\u{2027}', '\u{202a}'] {
            assert!(MailboxName::new(&taken.to_string()).is_ok(), "{taken:?}");
        }
        assert_eq!(
            refusal("a/b\n"),
            "level 1 of the mailbox name has control character U+000A at byte 1"
        );
    }

    /// Goal: a level given alone cannot smuggle in another.
    #[test]
    fn a_level_holds_no_separator() {
        let refused = name("a").child("b/c").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "level 1 of the mailbox name has a separator at byte 1"
        );
        assert_eq!(MailboxName::from_levels(["a", "b"]), Ok(name("a/b")));
    }

    /// Goal: parent, leaf and child undo each other.
    #[test]
    fn family() {
        let leaf = name("a/b/c");
        assert_eq!(leaf.parent().unwrap().child(leaf.leaf()).unwrap(), leaf);
        assert_eq!(
            (name("a").parent(), name("a").leaf().to_owned()),
            (None, "a".to_owned())
        );
        assert!(leaf.starts_with(&leaf) && leaf.starts_with(&name("a/b")));
        assert!(!name("a/bc").starts_with(&name("a/b")));
        assert!(!name("a").starts_with(&name("a/b")));
    }

    /// Goal: what is below a mailbox follows it without a gap.
    #[test]
    fn order_keeps_families_together() {
        let mut names = ["a-b", "a/b", "a", "a b", "a/b/c", "a/b-c"].map(name);
        names.sort();
        assert_eq!(
            names.map(|name| name.to_string()),
            ["a", "a/b", "a/b/c", "a/b-c", "a b", "a-b"]
        );
    }
}
