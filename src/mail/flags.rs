//! What marks an entry carries, and how one change turns some marks into others.
//!
//! System flags are bits ([`Flags`]); every other mark is a [`Keyword`]. A [`FlagChange`] is what IMAP STORE and a
//! JMAP patch have in common, as a value: it can be recorded, replayed and applied without knowing where it came from.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::bits::bit_set;

bit_set! {
    /// The system flags of an entry (RFC 9051, 2.3.2).
    ///
    /// ```
    /// use mailkeep::mail::Flags;
    ///
    /// let flags = Flags::SEEN | Flags::FLAGGED;
    /// assert_eq!(flags.to_string(), r"\Seen \Flagged");
    /// assert!(flags.contains(Flags::SEEN));
    /// assert_eq!(flags.without(Flags::SEEN), Flags::FLAGGED);
    /// assert_eq!(Flags::from_name(r"\SEEN"), Some(Flags::SEEN));
    /// assert_eq!(Flags::from_bits(1 << 15), None);
    /// ```
    Flags: u16 {
        /// `\Seen`: has been read.
        SEEN = 1, "\\Seen";
        /// `\Answered`: has been replied to.
        ANSWERED = 2, "\\Answered";
        /// `\Flagged`: asks for attention.
        FLAGGED = 4, "\\Flagged";
        /// `\Deleted`: goes with the next expunge.
        DELETED = 8, "\\Deleted";
        /// `\Draft`: is not finished.
        DRAFT = 16, "\\Draft";
    }
}

/// A user-named mark on an entry: an IMAP `flag-keyword` (RFC 9051, 9) of 1 to 255 bytes (RFC 8621, 4.1.1).
///
/// Keywords are caseless, so they are kept in lower case. Cloning shares the text.
///
/// ```
/// use mailkeep::mail::Keyword;
///
/// let keyword = Keyword::new("$Forwarded")?;
/// assert_eq!(keyword.as_str(), "$forwarded");
/// assert_eq!(keyword, Keyword::new("$FORWARDED")?);
/// # Ok::<(), mailkeep::mail::KeywordError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Keyword(Arc<str>);

impl Keyword {
    /// The most bytes a keyword has.
    pub const LEN_MAX: usize = 255;

    /// The keyword `name`, in lower case.
    ///
    /// # Errors
    /// [`KeywordError`] where `name` is empty, too long, or holds a byte that an atom cannot.
    pub fn new(name: &str) -> Result<Self, KeywordError> {
        if name.is_empty() {
            return Err(KeywordError::Empty);
        }
        if name.len() > Self::LEN_MAX {
            return Err(KeywordError::TooLong {
                len: name.len(),
                max: Self::LEN_MAX,
            });
        }
        match name.bytes().enumerate().find(|(_, byte)| !is_atom(*byte)) {
            Some((index, found)) => Err(KeywordError::Byte { index, found }),
            None => Ok(Self(name.to_ascii_lowercase().into())),
        }
    }

    /// The keyword in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Keyword {
    type Err = KeywordError;

    fn from_str(name: &str) -> Result<Self, KeywordError> {
        Self::new(name)
    }
}

/// Whether `byte` is an ATOM-CHAR of RFC 9051, 9.
const fn is_atom(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// Why a text is not a [`Keyword`]. Fix the text, or leave the keyword out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeywordError {
    /// There is nothing.
    #[error("keyword is empty")]
    Empty,
    /// There are too many bytes.
    #[error("keyword has {len} bytes, at most {max} are allowed")]
    TooLong {
        /// Length in bytes.
        len: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// A byte cannot be part of an atom.
    #[error("keyword has byte 0x{found:02x} at index {index}, which an atom cannot hold")]
    Byte {
        /// Where the byte is, from 0.
        index: usize,
        /// The byte.
        found: u8,
    },
}

/// What [`FlagChange::with`] does to its keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Verb {
    Add,
    Remove,
    Replace,
}

/// One change of an entry's marks: what an IMAP STORE or a JMAP patch asks for.
///
/// A mark is never both added and removed: the later call wins.
///
/// ```
/// use mailkeep::mail::{FlagChange, Flags, Keyword};
///
/// let work = Keyword::new("work")?;
/// let change = FlagChange::add(Flags::SEEN).with(work.clone()).and_remove(Flags::FLAGGED);
/// let (flags, keywords) = change.apply(Flags::FLAGGED | Flags::DRAFT, &[]);
/// assert_eq!(flags, Flags::SEEN | Flags::DRAFT);
/// assert_eq!(keywords, [work]);
/// # Ok::<(), mailkeep::mail::KeywordError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FlagChange {
    verb: Verb,
    adds: Flags,
    removes: Flags,
    added: Vec<Keyword>,
    removed: Vec<Keyword>,
}

impl FlagChange {
    /// Sets `flags` and leaves the other marks (`+FLAGS`).
    #[must_use]
    pub const fn add(flags: Flags) -> Self {
        Self::of(Verb::Add, flags, Flags::EMPTY)
    }

    /// Clears `flags` and leaves the other marks (`-FLAGS`).
    #[must_use]
    pub const fn remove(flags: Flags) -> Self {
        Self::of(Verb::Remove, Flags::EMPTY, flags)
    }

    /// Clears every mark, keywords too, and sets `flags` (`FLAGS`).
    #[must_use]
    pub const fn replace(flags: Flags) -> Self {
        Self::of(Verb::Replace, flags, Flags::EMPTY)
    }

    const fn of(verb: Verb, adds: Flags, removes: Flags) -> Self {
        Self {
            verb,
            adds,
            removes,
            added: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// Does to `keyword` what the change does to its first flags: adds it, removes it, or makes it part of the replacement.
    #[must_use]
    pub fn with(mut self, keyword: Keyword) -> Self {
        if self.verb == Verb::Remove {
            return self.and_remove_keyword(keyword);
        }
        take(&mut self.removed, &keyword);
        put(&mut self.added, keyword);
        self
    }

    /// Also clears `flags`, whatever else the change does.
    #[must_use]
    pub const fn and_remove(mut self, flags: Flags) -> Self {
        self.adds = self.adds.without(flags);
        self.removes = self.removes.union(flags);
        self
    }

    /// Also clears `keyword`, whatever else the change does.
    #[must_use]
    pub fn and_remove_keyword(mut self, keyword: Keyword) -> Self {
        take(&mut self.added, &keyword);
        put(&mut self.removed, keyword);
        self
    }

    /// The flags that are set.
    #[must_use]
    pub const fn adds(&self) -> Flags {
        self.adds
    }

    /// The flags that are cleared by name; a replacement clears the others too.
    #[must_use]
    pub const fn removes(&self) -> Flags {
        self.removes
    }

    /// Whether every mark that is not added is cleared.
    #[must_use]
    pub fn replaces(&self) -> bool {
        self.verb == Verb::Replace
    }

    /// The keywords that are set: sorted, without duplicates.
    #[must_use]
    pub fn added_keywords(&self) -> &[Keyword] {
        &self.added
    }

    /// The keywords that are cleared by name: sorted, without duplicates.
    #[must_use]
    pub fn removed_keywords(&self) -> &[Keyword] {
        &self.removed
    }

    /// The marks after the change of an entry that has `flags` and `keywords`, which may come in any order.
    ///
    /// The keywords returned are sorted and without duplicates. Applying a change twice does no more than once.
    #[must_use]
    pub fn apply(&self, flags: Flags, keywords: &[Keyword]) -> (Flags, Vec<Keyword>) {
        let (flags, keywords) = if self.replaces() {
            (Flags::EMPTY, &[][..])
        } else {
            (flags, keywords)
        };
        let stays = |keyword: &&Keyword| self.removed.binary_search(keyword).is_err();
        let mut after: Vec<Keyword> = keywords
            .iter()
            .filter(stays)
            .chain(&self.added)
            .cloned()
            .collect();
        after.sort_unstable();
        after.dedup();
        (flags.union(self.adds).without(self.removes), after)
    }
}

/// Puts `keyword` into a sorted list, once.
fn put(list: &mut Vec<Keyword>, keyword: Keyword) {
    if let Err(index) = list.binary_search(&keyword) {
        list.insert(index, keyword);
    }
}

/// Takes `keyword` out of a sorted list, if it is there.
fn take(list: &mut Vec<Keyword>, keyword: &Keyword) {
    if let Ok(index) = list.binary_search(keyword) {
        list.remove(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyword(name: &str) -> Keyword {
        Keyword::new(name).unwrap()
    }

    /// Goal: the bits are those of the format, and no unknown bit gets in.
    #[test]
    fn bits_are_fixed() {
        let every = [
            Flags::SEEN,
            Flags::ANSWERED,
            Flags::FLAGGED,
            Flags::DELETED,
            Flags::DRAFT,
        ];
        assert_eq!(every.map(Flags::bits), [1, 2, 4, 8, 16]);
        assert_eq!(
            Flags::from_bits(31),
            Some(every.into_iter().fold(Flags::EMPTY, Flags::union))
        );
        assert_eq!(Flags::from_bits(0), Some(Flags::EMPTY));
        for bit in 5..16 {
            assert_eq!(Flags::from_bits(1 << bit), None, "bit {bit}");
        }
    }

    /// Goal: names go both ways; what only looks like one does not.
    #[test]
    fn names_go_both_ways() {
        for name in ["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"] {
            assert_eq!(Flags::from_name(name).unwrap().to_string(), name);
            assert_eq!(
                Flags::from_name(&name.to_lowercase()),
                Flags::from_name(name)
            );
        }
        for name in ["", "Seen", "\\", "\\Recent", "\\Seen "] {
            assert_eq!(Flags::from_name(name), None, "{name}");
        }
        assert_eq!(Flags::EMPTY.to_string(), "");
        assert_eq!(
            format!("{:?}", Flags::SEEN | Flags::DRAFT),
            "Flags(\\Seen \\Draft)"
        );
    }

    /// Goal: a set contains another only with all of its members.
    #[test]
    fn contains_means_all() {
        let both = Flags::SEEN | Flags::DRAFT;
        assert!(both.contains(Flags::SEEN));
        assert!(both.contains(Flags::EMPTY));
        assert!(!Flags::SEEN.contains(both));
        assert!(both.without(both).is_empty());
    }

    /// Goal: each ASCII byte is taken or refused exactly as the ABNF of an atom says.
    #[test]
    fn keyword_bytes_follow_the_grammar() {
        for byte in 0..128_u8 {
            let atom = byte > 0x20 && byte < 0x7f && !b"(){%*\"\\]".contains(&byte);
            let name = format!("a{}", char::from(byte));
            let expected = if atom {
                Ok(keyword(&name))
            } else {
                Err(KeywordError::Byte {
                    index: 1,
                    found: byte,
                })
            };
            assert_eq!(Keyword::new(&name), expected, "byte {byte}");
        }
        assert_eq!(
            Keyword::new("\u{e9}"),
            Err(KeywordError::Byte {
                index: 0,
                found: 0xc3
            })
        );
    }

    /// Goal: one to 255 bytes, and the messages.
    #[test]
    fn keyword_length_is_bounded() {
        assert_eq!(
            Keyword::new(&"K".repeat(255)).unwrap().as_str(),
            "k".repeat(255)
        );
        let refusal = |name: &str| Keyword::new(name).unwrap_err().to_string();
        assert_eq!(refusal(""), "keyword is empty");
        assert_eq!(
            refusal(&"k".repeat(256)),
            "keyword has 256 bytes, at most 255 are allowed"
        );
        assert_eq!(
            refusal("a b"),
            "keyword has byte 0x20 at index 1, which an atom cannot hold"
        );
    }

    /// Goal: each verb does to flags and keywords alike.
    #[test]
    fn verbs() {
        let (a, b, c) = (keyword("a"), keyword("b"), keyword("c"));
        let before = (
            Flags::SEEN | Flags::DRAFT,
            [c.clone(), a.clone(), a.clone()],
        );
        let apply = |change: FlagChange| change.apply(before.0, &before.1);

        let added = apply(FlagChange::add(Flags::FLAGGED).with(b.clone()));
        assert_eq!(
            added,
            (
                before.0 | Flags::FLAGGED,
                vec![a.clone(), b.clone(), c.clone()]
            )
        );
        let removed = apply(FlagChange::remove(Flags::SEEN).with(a.clone()));
        assert_eq!(removed, (Flags::DRAFT, vec![c]));
        let replaced = apply(FlagChange::replace(Flags::DELETED).with(b.clone()));
        assert_eq!(replaced, (Flags::DELETED, vec![b]));
        assert_eq!(
            apply(FlagChange::replace(Flags::EMPTY)),
            (Flags::EMPTY, vec![])
        );
    }

    /// Goal: one change adds some and removes others, and says so.
    #[test]
    fn add_and_remove_in_one() {
        let (a, b, c) = (keyword("a"), keyword("b"), keyword("c"));
        let change = FlagChange::add(Flags::SEEN)
            .with(b.clone())
            .with(a.clone())
            .with(b.clone())
            .and_remove(Flags::DRAFT)
            .and_remove_keyword(c.clone());
        assert_eq!(
            (change.adds(), change.removes(), change.replaces()),
            (Flags::SEEN, Flags::DRAFT, false)
        );
        assert_eq!(change.added_keywords(), [a.clone(), b.clone()]);
        assert_eq!(change.removed_keywords(), std::slice::from_ref(&c));
        assert_eq!(change.apply(Flags::DRAFT, &[c]), (Flags::SEEN, vec![a, b]));
    }

    /// Goal: a mark is never both added and removed; the later call wins.
    #[test]
    fn the_later_call_wins() {
        let a = keyword("a");
        let removed = FlagChange::replace(Flags::SEEN | Flags::DRAFT)
            .with(a.clone())
            .and_remove(Flags::SEEN)
            .and_remove_keyword(a.clone());
        assert_eq!(
            (removed.adds(), removed.added_keywords()),
            (Flags::DRAFT, &[][..])
        );
        assert_eq!(
            removed.apply(Flags::SEEN, std::slice::from_ref(&a)),
            (Flags::DRAFT, vec![])
        );

        let added = FlagChange::add(Flags::EMPTY)
            .and_remove_keyword(a.clone())
            .with(a.clone());
        assert_eq!(
            (added.removed_keywords(), added.added_keywords()),
            (&[][..], &[a][..])
        );
    }
}
