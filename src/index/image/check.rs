//! Whether the columns of an image are a mailbox: all that the fold relies on, found in a few passes over them.
//!
//! The checksums have said that the bytes are those that were written. What is refused here was written wrong, or by
//! somebody else; either way it must not become a fold whose sums underflow, or whose searches miss.

use crate::format::Fault;
use crate::format::bytes::within;
use crate::index::entry::{EntryColumns, MemberColumns};
use crate::index::mailbox::Counters;
use crate::mail::Flags;

/// What the root says of a mailbox, as far as entries must fit it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// No UID reaches this.
    pub(super) uid_next: u64,
    /// No MODSEQ lies above this.
    pub(super) modseq: u64,
}

/// The counters of the entries, having checked them; counts in `uses` which keyword sets they have (index 0 is set 1).
///
/// # Errors
/// [`Fault::Range`] with the first thing that is not as it must be.
pub(super) fn entries(
    set: &EntryColumns,
    bounds: Bounds,
    uses: &mut [u64],
) -> Result<Counters, Fault> {
    let uids = set.uid();
    ascending("UID", uids)?;
    if let (Some(first), Some(last)) = (uids.first(), uids.last()) {
        within("UID", (*first).into(), 1, u64::MAX)?;
        within("UID", (*last).into(), 0, bounds.uid_next.saturating_sub(1))?;
    }
    let modseq = set
        .modseq()
        .iter()
        .fold(0, |most, modseq| most.max(*modseq));
    within("MODSEQ", modseq, 0, bounds.modseq)?;
    count_keywords(set.keywords(), uses)?;
    counters(set.flags(), set.size())
}

/// Whether keys ascend strictly. Without a branch for each, so that it runs at the speed of memory.
fn ascending<T: Copy + Ord + Into<u64>>(field: &'static str, keys: &[T]) -> Result<(), Fault> {
    let next = keys.get(1..).unwrap_or_default();
    let falls = |pairs: (&T, &T)| pairs.0 >= pairs.1;
    if !keys
        .iter()
        .zip(next)
        .fold(false, |any, pairs| any | falls(pairs))
    {
        return Ok(());
    }
    match keys.iter().zip(next).find(|pairs| falls(*pairs)) {
        None => Ok(()),
        Some((before, found)) => {
            let min = (*before).into().saturating_add(1);
            within(field, (*found).into(), min, u64::MAX)
        }
    }
}

fn counters(flags: &[Flags], sizes: &[u64]) -> Result<Counters, Fault> {
    let used = flags.iter().fold(0, |all, flags| all | flags.bits());
    if Flags::from_bits(used).is_none() {
        return Err(Fault::Range {
            field: "flags",
            found: used.into(),
            min: 0,
            max: 31,
        });
    }
    let mut counters = Counters {
        messages: flags.len() as u64,
        unseen: count_without(flags, Flags::SEEN),
        bytes: sum(sizes)?,
        ..Counters::default()
    };
    if used & Flags::DELETED.bits() != 0 {
        counters.deleted = counters.messages - count_without(flags, Flags::DELETED);
        let deleted = |flags: &Flags| u64::from(flags.contains(Flags::DELETED));
        // Not above the sum of all, which fits.
        counters.deleted_bytes = flags
            .iter()
            .zip(sizes)
            .map(|(flags, size)| deleted(flags) * size)
            .sum();
    }
    Ok(counters)
}

/// How many lack the flag. In pieces that a 16-bit sum holds: twice as many flags at a time.
fn count_without(flags: &[Flags], flag: Flags) -> u64 {
    let of_piece = |piece: &[Flags]| -> u16 {
        piece
            .iter()
            .map(|flags| u16::from(!flags.contains(flag)))
            .sum()
    };
    flags
        .chunks(1 << 15)
        .map(|piece| u64::from(of_piece(piece)))
        .sum()
}

/// The sum of sizes, refused where it may not fit.
fn sum(sizes: &[u64]) -> Result<u64, Fault> {
    let (all, sum) = sizes.iter().fold((0, 0_u64), |(all, sum), size| {
        (all | size, sum.wrapping_add(*size))
    });
    // No size lies above `all`: all its bits are there.
    if u128::from(all) * sizes.len() as u128 <= u128::from(u64::MAX) {
        return Ok(sum);
    }
    let exact: u128 = sizes.iter().map(|size| u128::from(*size)).sum();
    u64::try_from(exact).map_err(|_| Fault::Range {
        field: "sum of sizes",
        found: u64::MAX,
        min: 0,
        max: u64::MAX,
    })
}

fn count_keywords(keywords: &[u32], uses: &mut [u64]) -> Result<(), Fault> {
    let most = keywords.iter().fold(0, |most, number| most.max(*number));
    within("keyword set", most.into(), 0, uses.len() as u64)?;
    if most == 0 {
        return Ok(());
    }
    for number in keywords.iter().filter(|number| **number != 0) {
        if let Some(count) = uses.get_mut(*number as usize - 1) {
            *count += 1;
        }
    }
    Ok(())
}

/// Whether Email ids ascend as UIDs do, so that the entries serve as members.
///
/// # Errors
/// [`Fault::Range`] where they do not.
pub(super) fn emails_ascend(entries: &EntryColumns) -> Result<(), Fault> {
    ascending("Email id", entries.email())
}

/// Whether each member is an entry's Email and UID, each Email once.
///
/// # Errors
/// [`Fault::Range`] or [`Fault::Mismatch`] with the first thing that is not as it must be.
pub(super) fn members(members: &MemberColumns, entries: &EntryColumns) -> Result<(), Fault> {
    let (emails, uids) = (members.email(), members.uid());
    ascending("Email id", emails)?;
    within(
        "members",
        emails.len() as u64,
        0,
        entries.uid().len() as u64,
    )?;
    if emails.len() == entries.uid().len()
        && mixed(emails, uids) == mixed(entries.email(), entries.uid())
    {
        return Ok(());
    }
    for (email, uid) in emails.iter().zip(uids) {
        let at = entries.uid().binary_search(uid).ok();
        let found = at.and_then(|at| entries.email().get(at)).copied();
        if found != Some(*email) {
            return Err(Fault::Mismatch {
                field: "Email of a UID",
                found: found.unwrap_or(0),
                expected: *email,
            });
        }
    }
    Ok(())
}

/// A sum over pairs that does not depend on their order, and hardly comes out alike for others: a look-up for each of
/// a million members would take longer than all else.
fn mixed(emails: &[u64], uids: &[u32]) -> u64 {
    let mix = |(email, uid): (&u64, &u32)| {
        let one = email.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(*uid);
        let two = (one ^ (one >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        two ^ (two >> 32)
    };
    emails.iter().zip(uids).map(mix).fold(0, u64::wrapping_add)
}
