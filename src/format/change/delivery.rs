//! The bytes of messages that arrive: deliver, assign, deferred. FORMAT.md section 8.

use std::borrow::Cow;

use arrayvec::ArrayVec;

use super::codec::{
    put_keywords, take_field, take_flags, take_keywords, uid_of, uid_validity_of, unknown_bits,
};
use super::*;
use crate::format::Fault;
use crate::format::bytes::{Put, Take, within};

/// What all three say, in one layout.
struct Parts<'a> {
    /// These four are 0 while the account has not given them.
    uid: u32,
    uid_validity: u32,
    email: u64,
    thread: u64,
    flags: Flags,
    keywords: Cow<'a, [Keyword]>,
    internal_date: InternalDate,
    save_date: i64,
    raw_len: u32,
    shape: Shape,
    digest: Digest,
    body: BodyAt,
    summary: Cow<'a, Summary>,
}

impl Deliver {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let parts = Parts {
            uid: self.uid.get(),
            uid_validity: self.uid_validity.get(),
            email: self.email,
            thread: self.thread,
            flags: self.flags,
            keywords: Cow::Borrowed(&self.keywords),
            internal_date: self.internal_date,
            save_date: self.save_date,
            raw_len: self.raw_len,
            shape: self.shape,
            digest: self.digest,
            body: self.body,
            summary: Cow::Borrowed(&self.summary),
        };
        parts.encode(out);
    }

    pub(super) fn decode(take: &mut Take<'_>) -> Result<Self, Fault> {
        let parts = Parts::decode(take)?;
        Ok(Self {
            uid: uid_of(parts.uid)?,
            uid_validity: uid_validity_of(parts.uid_validity)?,
            flags: parts.flags,
            keywords: parts.keywords.into_owned(),
            internal_date: parts.internal_date,
            save_date: parts.save_date,
            email: parts.email,
            thread: parts.thread,
            raw_len: parts.raw_len,
            shape: parts.shape,
            digest: parts.digest,
            body: parts.body,
            summary: parts.summary.into_owned(),
        })
    }
}

impl Assign {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.deferred);
        self.deliver.encode(out);
    }

    pub(super) fn decode(take: &mut Take<'_>) -> Result<Self, Fault> {
        let deferred = take.number("record number")?;
        let deliver = Deliver::decode(take)?;
        match deliver.body {
            BodyAt::Here(_) => Err(Fault::Range {
                field: "body place",
                found: 0,
                min: 1,
                max: 2,
            }),
            _ => Ok(Self { deferred, deliver }),
        }
    }
}

impl Deferred {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let parts = Parts {
            uid: 0,
            uid_validity: 0,
            email: 0,
            thread: 0,
            flags: self.flags,
            keywords: Cow::Borrowed(&self.keywords),
            internal_date: self.internal_date,
            save_date: self.save_date,
            raw_len: self.raw_len,
            shape: self.shape,
            digest: self.digest,
            body: self.body,
            summary: Cow::Borrowed(&self.summary),
        };
        parts.encode(out);
        out.put_text(&self.account);
        out.put_text(&self.mailbox);
    }

    pub(super) fn decode(take: &mut Take<'_>) -> Result<Self, Fault> {
        let parts = Parts::decode(take)?;
        let given = [
            u64::from(parts.uid),
            parts.uid_validity.into(),
            parts.email,
            parts.thread,
        ];
        if let Some(found) = given.into_iter().find(|given| *given != 0) {
            return Err(Fault::Range {
                field: "id of a deferred delivery",
                found,
                min: 0,
                max: 0,
            });
        }
        Ok(Self {
            flags: parts.flags,
            keywords: parts.keywords.into_owned(),
            internal_date: parts.internal_date,
            save_date: parts.save_date,
            raw_len: parts.raw_len,
            shape: parts.shape,
            digest: parts.digest,
            body: parts.body,
            summary: parts.summary.into_owned(),
            account: take.text("account name")?.into(),
            mailbox: take.text("mailbox name")?.into(),
        })
    }
}

impl Parts<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        let (kind, at) = match self.body {
            BodyAt::Here(at) => (0, u64::from(at)),
            BodyAt::Record(number) => (1, number),
            BodyAt::Segment(number) => (2, number),
        };
        out.put_u32(self.uid);
        out.put_u32(self.uid_validity);
        out.put_u16(self.flags.bits());
        out.put_i16(self.internal_date.zone_minutes());
        out.put_u16(u16::try_from(self.keywords.len()).unwrap_or(u16::MAX));
        out.put_u16(kind);
        out.put_i64(self.internal_date.seconds());
        out.put_i64(self.save_date);
        out.put_u64(self.email);
        out.put_u64(self.thread);
        out.put_u64(self.shape.wire_size());
        out.put_u32(self.raw_len);
        out.put_u16(self.shape.bits());
        out.put_u16(u16::try_from(self.summary.fields.len()).unwrap_or(u16::MAX));
        out.put(self.digest.as_bytes());
        out.put_u64(at);
        out.put_u64(self.summary.message_id_hash);
        out.put_i64(self.summary.sent.unwrap_or(0));
        out.put_u32(self.summary.header_len);
        out.put_u8(self.summary.version);
        out.put_u8(u8::from(self.summary.sent.is_some()));
        out.put_u16(0);
        for field in &self.summary.fields {
            out.put_u8(field.name.number());
            out.put_u8(0);
            out.put_u16(field.offset);
            out.put_u16(field.len);
        }
        put_keywords(out, &self.keywords);
    }
}

impl Parts<'static> {
    fn decode(take: &mut Take<'_>) -> Result<Self, Fault> {
        let (uid, uid_validity) = (take.u32()?, take.u32()?);
        let flags = take_flags(take)?;
        let zone = take.i16()?;
        let keyword_count = take.u16()?;
        let body_kind = take.u16()?;
        let seconds = take.i64()?;
        let internal_date = InternalDate::new(seconds, zone).ok_or(Fault::Range {
            field: "internal date",
            found: seconds.cast_unsigned(),
            min: 0,
            max: i64::MAX.cast_unsigned(),
        })?;
        let (save_date, email, thread) = (take.i64()?, take.u64()?, take.u64()?);
        let wire_size = take.u64()?;
        let raw_len = take.u32()?;
        let bits = take.u16()?;
        let shape =
            Shape::from_parts(wire_size, bits).ok_or(unknown_bits("line ends", bits.into()))?;
        let field_count = take.u16()?;
        let digest = Digest::from_bytes(take.array()?);
        let body = body_at(body_kind, take.u64()?)?;
        let summary = take_summary(take, field_count)?;
        let keywords = take_keywords(take, keyword_count)?.into();
        Ok(Self {
            uid,
            uid_validity,
            email,
            thread,
            flags,
            keywords,
            internal_date,
            save_date,
            raw_len,
            shape,
            digest,
            body,
            summary: Cow::Owned(summary),
        })
    }
}

/// Where the bytes of a message lie, of one that arrives: the fields in front are passed over, those behind not looked at.
pub(super) fn body_of(kind: u8, payload: &[u8]) -> Option<BodyAt> {
    const BEFORE_KIND: usize = 14;
    const BEFORE_PLACE: usize = 80;
    let mut take = Take::new(payload);
    if kind == ASSIGN {
        take.u64().ok()?;
    } else if kind != DELIVER && kind != DEFERRED {
        return None;
    }
    take.slice(BEFORE_KIND).ok()?;
    let kind = take.u16().ok()?;
    take.slice(BEFORE_PLACE).ok()?;
    body_at(kind, take.u64().ok()?).ok()
}

fn body_at(kind: u16, at: u64) -> Result<BodyAt, Fault> {
    match kind {
        0 => u32::try_from(at)
            .map(BodyAt::Here)
            .map_err(|_| Fault::Range {
                field: "body offset",
                found: at,
                min: 0,
                max: u32::MAX.into(),
            }),
        1 => Ok(BodyAt::Record(at)),
        2 => Ok(BodyAt::Segment(at)),
        kind => Err(Fault::Range {
            field: "body place",
            found: kind.into(),
            min: 0,
            max: 2,
        }),
    }
}

fn take_summary(take: &mut Take<'_>, field_count: u16) -> Result<Summary, Fault> {
    let message_id_hash = take.u64()?;
    let sent = take.i64()?;
    let header_len = take.u32()?;
    let version = take.u8()?;
    let sent = match (take.u8()?, sent) {
        (0, 0) => None,
        (1, sent) => Some(sent),
        (found, _) => return Err(unknown_bits("sent date", found.into())),
    };
    take.zeroes(2)?;
    let mut fields = ArrayVec::new();
    within(
        "count of header fields",
        field_count.into(),
        0,
        fields.capacity() as u64,
    )?;
    for _ in 0..field_count {
        fields.push(take_field(take)?);
    }
    Ok(Summary {
        version,
        header_len,
        sent,
        message_id_hash,
        fields,
    })
}
