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
    bounded(set.modseq(), bounds.modseq)?;
    count_keywords(set.keywords(), uses)?;
    counters(set.flags(), set.size())
}

/// The bit that no number of a sound image has. Differences are joined without a branch for each, which runs at the speed
/// of memory also where the machine cannot compare 64-bit numbers in bulk; where the bit is set, all is looked at again.
const TOP: u64 = 1 << 63;

/// Whether no number lies above `most`, which is below 2^63.
fn bounded(numbers: &[u64], most: u64) -> Result<(), Fault> {
    let beyond = |all, number: &u64| all | number | most.wrapping_sub(*number);
    if numbers.iter().fold(0, beyond) & TOP == 0 {
        return Ok(());
    }
    let found = numbers.iter().copied().max().unwrap_or(0);
    within("MODSEQ", found, 0, most)
}

/// Whether keys ascend strictly. The common case is one pass without a branch for each.
fn ascending<T: Copy + Ord + Into<u64>>(field: &'static str, keys: &[T]) -> Result<(), Fault> {
    let next = keys.get(1..).unwrap_or_default();
    let pairs = keys.iter().zip(next);
    let falls = |any, (before, found): (&T, &T)| any | (before >= found);
    if !pairs.clone().fold(false, falls) {
        return Ok(());
    }
    for (before, found) in pairs {
        let least = (*before).into().saturating_add(1);
        within(field, (*found).into(), least, u64::MAX)?;
    }
    // Only the greatest number of all, twice, comes here.
    within(field, u64::MAX, 0, u64::MAX - 1)
}

/// Rows that are added up at a time: few enough for the caches, and for counts of 16 bits.
const PIECE: usize = 1 << 14;

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
    let mut sum = Counters::default();
    for (flags, sizes) in flags.chunks(PIECE).zip(sizes.chunks(PIECE)) {
        sum.messages += flags.len() as u64;
        sum.bytes = add_up(sum.bytes, sizes)?;
        sum.unseen += count_without(flags, Flags::SEEN);
        if used & Flags::DELETED.bits() != 0 {
            sum.deleted += flags.len() as u64 - count_without(flags, Flags::DELETED);
            // All bits, or none. Never more than the sum of all, which fits.
            let mask = |flags: &Flags| u64::from(flags.contains(Flags::DELETED)).wrapping_neg();
            let pairs = flags.iter().zip(sizes);
            sum.deleted_bytes += pairs.map(|(flags, size)| mask(flags) & size).sum::<u64>();
        }
    }
    Ok(sum)
}

/// How many of a piece lack the flag: in 16 bits, so that a machine adds up many at a time.
fn count_without(piece: &[Flags], flag: Flags) -> u64 {
    let lack = |flags: &Flags| u16::from(!flags.contains(flag));
    piece.iter().map(lack).sum::<u16>().into()
}

/// `sum` and the sizes of a piece, refused where that does not fit.
fn add_up(sum: u64, sizes: &[u64]) -> Result<u64, Fault> {
    let (all, more) = sizes.iter().fold((0, 0_u64), |(all, more), size| {
        (all | size, more.wrapping_add(*size))
    });
    // No size lies above `all`: all its bits are there. So most sums need no check for each size.
    let more = if u128::from(all) * sizes.len() as u128 <= u128::from(u64::MAX) {
        Some(more)
    } else {
        let add = |sum: u64, size: &u64| sum.checked_add(*size);
        sizes.iter().try_fold(0, add)
    };
    let fits = more.and_then(|more| sum.checked_add(more));
    fits.ok_or(Fault::Range {
        field: "sum of sizes",
        found: u64::MAX,
        min: 0,
        max: u64::MAX - 1,
    })
}

/// Counts how many entries have each set, those that have none aside.
fn count_keywords(keywords: &[u32], uses: &mut [u64]) -> Result<(), Fault> {
    if keywords.iter().fold(0, |all, number| all | number) == 0 {
        return Ok(());
    }
    let mut strange = 0;
    for number in keywords.iter().filter(|number| **number != 0) {
        match uses.get_mut(*number as usize - 1) {
            Some(count) => *count += 1,
            None => strange = *number,
        }
    }
    within("keyword set", strange.into(), 0, uses.len() as u64)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: ids ascend up to the greatest there is.
    #[test]
    fn ids_ascend_strictly() {
        let top = 1 << 63;
        for good in [
            &[][..],
            &[0],
            &[u64::MAX],
            &[0, 1, 2],
            &[5, top - 1, top, u64::MAX],
        ] {
            assert_eq!(ascending("id", good), Ok(()), "{good:?}");
        }
        for bad in [
            &[1, 1][..],
            &[2, 1],
            &[top, top],
            &[top, top - 1],
            &[u64::MAX, u64::MAX],
            &[u64::MAX, 0],
            &[0, 3, 2],
        ] {
            assert!(ascending("id", bad).is_err(), "{bad:?}");
        }
        assert!(ascending("UID", &[1, u32::MAX]).is_ok());
        assert!(ascending("UID", &[u32::MAX, u32::MAX]).is_err());
    }

    /// Goal: a bound is kept also by numbers with the top bit.
    #[test]
    fn numbers_are_bounded() {
        for (number, most, good) in [
            (0, 0, true),
            (1, 0, false),
            (7, 7, true),
            (8, 7, false),
            (TOP - 1, TOP - 1, true),
            (TOP, TOP - 1, false),
            (u64::MAX, 0, false),
            (u64::MAX, TOP - 1, false),
        ] {
            assert_eq!(
                bounded(&[0, number], most).is_ok(),
                good,
                "{number} of {most}"
            );
        }
    }

    /// Goal: sums are exact, or refused.
    #[test]
    fn sums_do_not_wrap() {
        let flags = [Flags::DELETED, Flags::SEEN | Flags::DELETED, Flags::SEEN];
        let found = counters(&flags, &[1 << 60, 5, 7]).unwrap();
        assert_eq!((found.messages, found.unseen, found.deleted), (3, 1, 2));
        assert_eq!(
            (found.bytes, found.deleted_bytes),
            ((1 << 60) + 12, (1 << 60) + 5)
        );
        assert!(counters(&flags, &[u64::MAX, 0, 0]).is_ok());
        assert!(counters(&flags, &[u64::MAX, 1, 0]).is_err());
        assert!(add_up(1, &[u64::MAX]).is_err());
        assert_eq!(add_up(1, &[u64::MAX - 1]), Ok(u64::MAX));
        let many = vec![Flags::DELETED; 100_000];
        let found = counters(&many, &vec![3; 100_000]).unwrap();
        assert_eq!((found.messages, found.unseen), (100_000, 100_000));
        assert_eq!((found.bytes, found.deleted_bytes), (300_000, 300_000));
        assert!(counters(&many[..2 * PIECE], &vec![1 << 50; 2 * PIECE]).is_err());
    }

    /// Goal: each set's entries are counted, on top of those of other mailboxes.
    #[test]
    fn keyword_sets_are_counted() {
        let mut uses = [10, 0, 0];
        count_keywords(&[1, 1, 1, 1, 1, 3, 0, 3, 1], &mut uses).unwrap();
        assert_eq!(uses, [16, 0, 2]);
        assert!(count_keywords(&[4], &mut uses).is_err());
        assert_eq!(count_keywords(&[0; 9], &mut []), Ok(()));
    }
}
