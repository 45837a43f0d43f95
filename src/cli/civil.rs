//! Seconds since the epoch and the proleptic Gregorian calendar, both ways, in UTC.
//!
//! After Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": eras of 400 years that
//! begin on 1 March, so that the leap day comes last and no table of month lengths is needed.

/// Names of the months as From_ lines and RFC 5322 write them; January is at 0.
pub(crate) const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Names of the days of the week; 1970-01-01 was the Thursday at 0.
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// Seconds in a day; leap seconds do not count.
const DAY_SECONDS: i64 = 86_400;

/// The second that begins 1000-01-01, the first year of four digits.
const FOUR_DIGITS_MIN: i64 = -30_610_224_000;

/// The last second of 9999-12-31.
const FOUR_DIGITS_MAX: i64 = 253_402_300_799;

/// Days from 1970-01-01 to the given day; `month` is 1..=12. The day is not checked.
///
/// Years must lie in 0..=9999: all callers read them from at most four digits.
pub(crate) fn days(year: i64, month: i64, day: i64) -> i64 {
    let march_year = year - i64::from(month <= 2);
    let era = march_year.div_euclid(400);
    let year_of_era = march_year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Whether the day exists; `month` is 1..=12.
pub(crate) fn is_day(year: i64, month: i64, day: i64) -> bool {
    (1..=12).contains(&month) && day >= 1 && {
        let (next_year, next_month) = if month == 12 {
            (year + 1, 1)
        } else {
            (year, month + 1)
        };
        day <= days(next_year, next_month, 1) - days(year, month, 1)
    }
}

/// The date as C's `asctime` writes it, in UTC and without a newline: `Thu Jan  1 00:00:00 1970`.
///
/// A year that has not four digits cannot be told as a year by readers of From_ lines: seconds
/// outside 1000-01-01..=9999-12-31 become the nearest second inside.
pub(crate) fn asctime(seconds: i64) -> String {
    let seconds = seconds.clamp(FOUR_DIGITS_MIN, FOUR_DIGITS_MAX);
    let (day_number, second) = (
        seconds.div_euclid(DAY_SECONDS),
        seconds.rem_euclid(DAY_SECONDS),
    );
    let (year, month, day) = civil(day_number);
    format!(
        "{} {} {day:2} {:02}:{:02}:{:02} {year:04}",
        name(&WEEKDAYS, day_number.rem_euclid(7)),
        name(&MONTHS, month - 1),
        second / 3600,
        second / 60 % 60,
        second % 60,
    )
}

/// The instant `seconds` in the zone `zone_minutes` east of UTC as RFC 3339 writes it: `1970-01-01T01:00:00+01:00`.
/// `Z` stands for UTC. The year must lie in 0..=9999.
pub(crate) fn rfc3339(seconds: i64, zone_minutes: i16) -> String {
    let local = seconds.saturating_add(i64::from(zone_minutes) * 60);
    let (year, month, day) = civil(local.div_euclid(DAY_SECONDS));
    let second = local.rem_euclid(DAY_SECONDS);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let zone = match zone_minutes {
        0 => "Z".to_owned(),
        zone => {
            let sign = if zone < 0 { '-' } else { '+' };
            let zone = zone.unsigned_abs();
            format!("{sign}{:02}:{:02}", zone / 60, zone % 60)
        }
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{zone}")
}

/// Year, month 1..=12 and day 1..=31 of a day counted from 1970-01-01.
fn civil(day_number: i64) -> (i64, i64, i64) {
    let shifted = day_number + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12 + 1;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The name at `index`; callers reduce the index first, so the fallback is never seen.
fn name<'a>(names: &[&'a str], index: i64) -> &'a str {
    usize::try_from(index)
        .ok()
        .and_then(|index| names.get(index))
        .copied()
        .unwrap_or("???")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_dates() {
        for (seconds, zone, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (0, 60, "1970-01-01T01:00:00+01:00"),
            (-1, -210, "1969-12-31T20:29:59-03:30"),
            (951_827_696, 0, "2000-02-29T12:34:56Z"),
            (FOUR_DIGITS_MAX, 0, "9999-12-31T23:59:59Z"),
            (-62_135_596_800, 0, "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds, zone), text);
        }
    }

    #[test]
    fn known_days() {
        assert_eq!(asctime(0), "Thu Jan  1 00:00:00 1970");
        assert_eq!(asctime(-1), "Wed Dec 31 23:59:59 1969");
        assert_eq!(asctime(951_782_400), "Tue Feb 29 00:00:00 2000");
        assert_eq!(asctime(1_072_915_200), "Thu Jan  1 00:00:00 2004");
        assert_eq!(asctime(4_107_542_399), "Sun Feb 28 23:59:59 2100");
        assert_eq!(asctime(4_107_542_400), "Mon Mar  1 00:00:00 2100");
    }

    #[test]
    fn years_stay_within_four_digits() {
        assert_eq!(asctime(i64::MIN), "Wed Jan  1 00:00:00 1000");
        assert_eq!(asctime(i64::MAX), "Fri Dec 31 23:59:59 9999");
    }

    #[test]
    fn days_and_civil_are_inverse() {
        for day_number in (-400_000..2_900_000).step_by(97) {
            let (year, month, day) = civil(day_number);
            assert_eq!(days(year, month, day), day_number);
            assert!(is_day(year, month, day));
        }
    }

    #[test]
    fn days_that_do_not_exist() {
        assert!(is_day(2000, 2, 29) && !is_day(1900, 2, 29) && !is_day(2001, 2, 29));
        assert!(is_day(2001, 12, 31) && !is_day(2001, 12, 32) && !is_day(2001, 4, 31));
        assert!(!is_day(2001, 0, 1) && !is_day(2001, 13, 1) && !is_day(2001, 1, 0));
    }
}
