//! What a listing needs of a message's header, found once at delivery.
//!
//! Fields are located, not decoded: decoding has opinions that change, bytes have none. The boundaries of the fields
//! are found by a scanner of our own: mail-parser's lists every field of the header, wanted or not, which takes more
//! time (nearly all of our two microseconds) and, on hostile mail, much more memory than the bytes it looks at. The
//! date, which has a grammar not worth writing twice, goes through mail-parser.

use arrayvec::ArrayVec;
use memchr::memchr;

use super::date::InternalDate;
use super::id::Digest;

/// A header field that a [`Summary`] locates. The numbers never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FieldName {
    /// `From`
    From = 1,
    /// `Sender`
    Sender = 2,
    /// `Reply-To`
    ReplyTo = 3,
    /// `To`
    To = 4,
    /// `Cc`
    Cc = 5,
    /// `Bcc`
    Bcc = 6,
    /// `Subject`
    Subject = 7,
    /// `Date`
    Date = 8,
    /// `Message-ID`
    MessageId = 9,
    /// `In-Reply-To`
    InReplyTo = 10,
    /// `References`
    References = 11,
}

impl FieldName {
    const COUNT: usize = Self::ALL.len();

    const ALL: [(Self, &'static str); 11] = [
        (Self::From, "From"),
        (Self::Sender, "Sender"),
        (Self::ReplyTo, "Reply-To"),
        (Self::To, "To"),
        (Self::Cc, "Cc"),
        (Self::Bcc, "Bcc"),
        (Self::Subject, "Subject"),
        (Self::Date, "Date"),
        (Self::MessageId, "Message-ID"),
        (Self::InReplyTo, "In-Reply-To"),
        (Self::References, "References"),
    ];

    /// The name with this number, or `None`.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL
            .iter()
            .map(|(name, _)| *name)
            .find(|name| name.number() == number)
    }

    /// The number, 1 to 11.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The field that is called `name` in any case of letters.
    fn from_bytes(name: &[u8]) -> Option<Self> {
        let same = |known: &str| known.as_bytes().eq_ignore_ascii_case(name);
        Self::ALL
            .iter()
            .find(|(_, known)| same(known))
            .map(|(name, _)| *name)
    }
}

/// Where the value of a header field lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// Which field.
    pub name: FieldName,
    /// Where its value begins, in bytes from the start of the message: after the colon and the blanks behind it.
    pub offset: u16,
    /// Length of the value in bytes, line ends of its foldings included, the last line end not.
    pub len: u16,
}

/// What a listing needs of a message's header.
///
/// Only the first 64 KiB of a message are looked at, so that no message takes more time or memory than that.
///
/// ```
/// use mailkeep::mail::{FieldName, Summary};
///
/// let raw = b"Subject: hello\r\nMessage-ID: <1@example.it>\r\n\r\nbody";
/// let summary = Summary::of(raw);
/// assert_eq!(summary.field(FieldName::Subject, raw), Some(&b"hello"[..]));
/// assert_eq!(summary.field(FieldName::From, raw), None);
/// assert_ne!(summary.message_id_hash, 0);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Summary {
    /// Which rules made this: [`Summary::VERSION`].
    pub version: u8,
    /// Length of the header in bytes with the empty line that ends it; where that is not found, all that was looked at.
    pub header_len: u32,
    /// The instant of the Date field in seconds since the epoch, where there is one that can be read.
    pub sent: Option<i64>,
    /// Little-endian number of the first 8 bytes of the BLAKE3 digest of what stands between `<` and `>` in the
    /// Message-ID field; 0 where there is none.
    pub message_id_hash: u64,
    pub(crate) fields: ArrayVec<Field, { FieldName::COUNT }>,
}

impl Summary {
    /// The rules of today.
    pub const VERSION: u8 = 1;

    /// How many bytes of a message are looked at.
    pub const WINDOW: usize = 64 * 1024;

    /// Summarises the message `raw`; no bytes are refused.
    ///
    /// # Cost
    /// About a microsecond and a half for a header of 4 KiB; no allocation.
    #[must_use]
    pub fn of(raw: &[u8]) -> Self {
        let window = raw.get(..Self::WINDOW).unwrap_or(raw);
        let mut scan = Scan {
            window,
            at: 0,
            whole: window.len() == raw.len(),
        };
        let mut fields = ArrayVec::new();
        while let Some(found) = scan.next_field() {
            if let Some(field) = found
                && fields.iter().all(|known: &Field| known.name != field.name)
            {
                // There are no more than as many names.
                let _ = fields.try_push(field);
            }
        }
        let mut summary = Self {
            version: Self::VERSION,
            header_len: u32::try_from(scan.at).unwrap_or(u32::MAX),
            sent: None,
            message_id_hash: 0,
            fields,
        };
        summary.sent = summary.field(FieldName::Date, raw).and_then(sent);
        summary.message_id_hash = summary
            .field(FieldName::MessageId, raw)
            .map_or(0, message_id_hash);
        summary
    }

    /// The first of each field that lies within the first 64 KiB as a whole, in their order there.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The raw, undecoded value of a field in the message `raw` that was summarised, or `None` where it is not listed.
    ///
    /// With other bytes the answer is other bytes or `None`, never a panic.
    #[must_use]
    pub fn field<'a>(&self, name: FieldName, raw: &'a [u8]) -> Option<&'a [u8]> {
        let field = self.fields.iter().find(|field| field.name == name)?;
        let start = usize::from(field.offset);
        raw.get(start..start + usize::from(field.len))
    }
}

/// The instant that a Date field names.
fn sent(value: &[u8]) -> Option<i64> {
    InternalDate::rfc5322(&String::from_utf8_lossy(value)).map(InternalDate::seconds)
}

/// The hash of the first Message-ID of a field, or 0.
fn message_id_hash(value: &[u8]) -> u64 {
    let mut parts = value.splitn(2, |byte| *byte == b'<');
    let id = parts.nth(1).and_then(|rest| {
        let end = rest.iter().position(|byte| *byte == b'>')?;
        rest.get(..end)
    });
    let digest = id.filter(|id| !id.is_empty()).map(Digest::of);
    digest
        .as_ref()
        .and_then(|digest| digest.as_bytes().first_chunk())
        .map_or(0, |head| u64::from_le_bytes(*head))
}

/// Goes through a header, a field at a time.
struct Scan<'a> {
    window: &'a [u8],
    /// Where the next line begins.
    at: usize,
    /// Whether the window ends where the message ends.
    whole: bool,
}

impl<'a> Scan<'a> {
    /// Goes past one field, or past one line that is none (`Some(None)`); `None` after the empty line that ends the
    /// header, or at the end of the window.
    fn next_field(&mut self) -> Option<Option<Field>> {
        let start = self.at;
        let line = self.line()?;
        if matches!(line, b"" | b"\r") {
            return None;
        }
        while matches!(self.window.get(self.at), Some(b' ' | b'\t')) {
            self.line();
        }
        // What touches the end of the window may go on behind it.
        let complete = self.whole || self.at < self.window.len();
        let located = locate(line).filter(|_| complete);
        Some(located.and_then(|(name, offset)| self.field(name, start + offset)))
    }

    /// Goes past one line, and returns it without its LF.
    fn line(&mut self) -> Option<&'a [u8]> {
        let rest = self.window.get(self.at..).filter(|rest| !rest.is_empty())?;
        let len = memchr(b'\n', rest);
        self.at += len.map_or(rest.len(), |len| len + 1);
        rest.get(..len.unwrap_or(rest.len()))
    }

    /// The field whose value begins at `start` and ends with the line that was read last.
    fn field(&self, name: FieldName, start: usize) -> Option<Field> {
        let value = self.window.get(start..self.at)?;
        let value = value.strip_suffix(b"\n").unwrap_or(value);
        let value = value.strip_suffix(b"\r").unwrap_or(value);
        let (offset, len) = (u16::try_from(start).ok()?, u16::try_from(value.len()).ok()?);
        Some(Field { name, offset, len })
    }
}

/// The field that a line begins, and where in the line its value does, if it is one of those that are wanted.
///
/// Blanks before the colon are obsolete, and still met (RFC 5322, 4.5).
fn locate(line: &[u8]) -> Option<(FieldName, usize)> {
    // "In-Reply-To" and some blanks: a colon further on cannot belong to a field that is wanted.
    let colon = line.iter().take(32).position(|byte| *byte == b':')?;
    let name = FieldName::from_bytes(line.get(..colon)?.trim_ascii_end())?;
    let blanks = line
        .get(colon + 1..)?
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'));
    Some((name, colon + 1 + blanks.count()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listed(raw: &[u8]) -> Vec<(FieldName, &[u8])> {
        let summary = Summary::of(raw);
        let value = |field: &Field| (field.name, summary.field(field.name, raw).unwrap());
        summary.fields.iter().map(value).collect()
    }

    /// Goal: values are located as they are, folded or not, with either line end, and only before the empty line.
    #[test]
    fn fields_are_located() {
        for end in ["\r\n", "\n"] {
            let raw = "From:  a@x\nX-From: no\nsubject : one\n two\nTo:\nno field\nTO: second\n\nCc: body\n".replace('\n', end);
            let subject = format!("one{end} two");
            let expected: [(FieldName, &[u8]); 3] = [
                (FieldName::From, b"a@x"),
                (FieldName::Subject, subject.as_bytes()),
                (FieldName::To, b""),
            ];
            assert_eq!(listed(raw.as_bytes()), expected);
            assert_eq!(
                Summary::of(raw.as_bytes()).header_len as usize,
                raw.find("Cc").unwrap()
            );
        }
    }

    /// Goal: a message may end anywhere in its header.
    #[test]
    fn cut_headers() {
        assert_eq!(listed(b"To: a"), [(FieldName::To, &b"a"[..])]);
        assert_eq!(listed(b"To: a\r\n b\r"), [(FieldName::To, &b"a\r\n b"[..])]);
        assert_eq!(listed(b"To"), []);
        assert_eq!(Summary::of(b"To: a\n").header_len, 6);
        assert_eq!(Summary::of(b"").header_len, 0);
    }

    /// Goal: only fields that end inside the window are listed, and nothing behind it is looked at.
    #[test]
    fn the_window_bounds() {
        let head = b"Subject: 1\nTo: ".to_vec();
        let fill = Summary::WINDOW - head.len() - 1;
        let fits = [&head[..], &b"x".repeat(fill), b"\n"].concat();
        assert_eq!(listed(&fits).len(), 2);
        let longer = [&fits[..], b"From: a\n\n"].concat();
        assert_eq!(listed(&longer), [(FieldName::Subject, &b"1"[..])]);
        assert_eq!(Summary::of(&longer).header_len as usize, Summary::WINDOW);
    }

    /// Goal: the first Message-ID is hashed as it stands, whatever surrounds it.
    #[test]
    fn message_ids() {
        let hash = |value: &str| {
            Summary::of(format!("Message-Id: {value}\n\n").as_bytes()).message_id_hash
        };
        let expected = u64::from_le_bytes(Digest::of(b"1@x").as_bytes()[..8].try_into().unwrap());
        for value in [
            "<1@x>",
            "\n <1@x> (comment)",
            "see <1@x> <2@x>",
            "> <1@x>",
            "<<1@x>",
        ] {
            assert_eq!(hash(value) == expected, value != "<<1@x>", "{value}");
        }
        for value in ["", "1@x", "<1@x", "1@x>", "<>", "><1@x"] {
            assert_eq!(hash(value), 0, "{value}");
        }
    }

    /// Goal: the Date field is an instant, if it can be read.
    #[test]
    fn dates() {
        let sent = |value: &str| Summary::of(format!("Date: {value}\n\n").as_bytes()).sent;
        assert_eq!(sent("Fri, 21 Nov 1997 09:55:06 -0600"), Some(880_127_706));
        assert_eq!(
            sent("Fri,\r\n 21 Nov 1997 09:55:06 -0600"),
            Some(880_127_706)
        );
        assert_eq!(sent("soon"), None);
        assert_eq!(
            Summary::of(b"Date: 21 Nov 1997 \xff 09:55:06 -0600\n").version,
            1
        );
    }

    /// Goal: the numbers are those of the format.
    #[test]
    fn numbers_are_fixed() {
        for (index, (name, _)) in FieldName::ALL.iter().enumerate() {
            assert_eq!(usize::from(name.number()), index + 1);
            assert_eq!(FieldName::from_number(name.number()), Some(*name));
        }
        assert_eq!(
            (FieldName::from_number(0), FieldName::from_number(12)),
            (None, None)
        );
    }

    proptest! {
        /// Goal: no bytes make it panic, and what it lists lies in the message, once, in order.
        #[test]
        fn any_bytes(
            raw in prop::collection::vec(
                prop_oneof![
                    prop::sample::select(vec!["Date: ", "\r\n", "\n", "To:", "Message-ID:", "<", ">", " "])
                        .prop_map(|text| text.as_bytes().to_vec()),
                    prop::collection::vec(any::<u8>(), 0..20),
                ],
                0..40,
            ),
            cut in 0_usize..400,
        ) {
            let raw = raw.concat();
            let summary = Summary::of(&raw);
            prop_assert!(summary.header_len as usize <= raw.len());
            prop_assert!(summary.fields.is_sorted_by(|one, next| one.offset <= next.offset && one.name != next.name));
            prop_assert!(summary.fields.iter().all(|field| summary.field(field.name, &raw).is_some()));
            let shorter = raw.get(..cut).unwrap_or_default();
            prop_assert!(summary.fields.iter().all(|field| summary.field(field.name, shorter).is_none_or(|value| value.len() <= cut)));
        }
    }
}
