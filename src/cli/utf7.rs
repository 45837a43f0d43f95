//! Modified UTF-7, the spelling of mailbox names on Maildir++ folders (RFC 3501 section 5.1.3).
//!
//! Printable ASCII stands for itself, `&` is `&-`, all else is UTF-16 in base64 between `&` and
//! `-`, with `,` in place of `/` and without padding.

/// The base64 alphabet of RFC 3501: `,` where RFC 4648 has `/`.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// Decodes one level of a mailbox name; `None` when it is not modified UTF-7.
///
/// More is accepted than [`encode`] of a plain name gives: ASCII may be in base64 too, which is how
/// a `.` or `/` inside a level is written. Raw UTF-8 outside base64 stands for itself, as in
/// folders written with Dovecot's UTF-8 option.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once('&') {
        decoded.push_str(plain);
        let (coded, after) = after.split_once('-')?;
        if coded.is_empty() {
            decoded.push('&');
        } else {
            decoded.push_str(&decode_run(coded)?);
        }
        rest = after;
    }
    decoded.push_str(rest);
    Some(decoded)
}

/// Encodes one level of a mailbox name. The characters of `also`, which must be ASCII, are put in
/// base64 although they are printable: a Maildir++ folder cannot have `.` or `/` in a level.
pub(crate) fn encode(text: &str, also: &[char]) -> String {
    let is_plain = |c: char| matches!(c, ' '..='~') && c != '&' && !also.contains(&c);
    let mut encoded = String::with_capacity(text.len());
    let mut run: Vec<u16> = Vec::new();
    for c in text.chars() {
        if is_plain(c) || c == '&' {
            encode_run(&mut run, &mut encoded);
            encoded.push(c);
            if c == '&' {
                encoded.push('-');
            }
        } else {
            run.extend_from_slice(c.encode_utf16(&mut [0; 2]));
        }
    }
    encode_run(&mut run, &mut encoded);
    encoded
}

/// Base64 to text: whole UTF-16 units, left-over bits zero, no lone surrogate.
fn decode_run(coded: &str) -> Option<String> {
    let (mut units, mut bits, mut bit_count) = (Vec::new(), 0_u32, 0_u32);
    for byte in coded.bytes() {
        let digit = ALPHABET.iter().position(|letter| *letter == byte)?;
        bits = bits << 6 | u32::try_from(digit).ok()?;
        bit_count += 6;
        if bit_count >= 16 {
            bit_count -= 16;
            units.push(u16::try_from(bits >> bit_count).ok()?);
            bits &= (1 << bit_count) - 1;
        }
    }
    if bits != 0 || bit_count >= 6 {
        None
    } else {
        String::from_utf16(&units).ok()
    }
}

/// Writes the collected units, if any, as one `&...-`, and forgets them.
fn encode_run(run: &mut Vec<u16>, encoded: &mut String) {
    if run.is_empty() {
        return;
    }
    encoded.push('&');
    let (mut bits, mut bit_count) = (0_u32, 0_u32);
    for unit in run.drain(..) {
        bits = bits << 16 | u32::from(unit);
        bit_count += 16;
        while bit_count >= 6 {
            bit_count -= 6;
            encoded.push(letter(bits >> bit_count));
            bits &= (1 << bit_count) - 1;
        }
    }
    if bit_count > 0 {
        encoded.push(letter(bits << (6 - bit_count)));
    }
    encoded.push('-');
}

/// The letter for six bits.
fn letter(bits: u32) -> char {
    let index = usize::try_from(bits & 63).unwrap_or(0);
    char::from(ALPHABET.get(index).copied().unwrap_or(b'A'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn examples() {
        // RFC 3501 section 5.1.3 gives the last three.
        for (plain, coded) in [
            ("INBOX", "INBOX"),
            ("R&D", "R&-D"),
            ("\u{e9}", "&AOk-"),
            ("\u{1f600}", "&2D3eAA-"),
            ("~peter", "~peter"),
            ("\u{53f0}\u{5317}", "&U,BTFw-"),
            ("\u{65e5}\u{672c}\u{8a9e}", "&ZeVnLIqe-"),
        ] {
            assert_eq!(encode(plain, &[]), coded);
            assert_eq!(decode(coded).as_deref(), Some(plain));
        }
        assert_eq!(encode("a.b/c", &['.', '/']), "a&AC4-b&AC8-c");
        assert_eq!(decode("a&AC4-b&AC8-c").as_deref(), Some("a.b/c"));
    }

    #[test]
    fn refuses_what_is_not_modified_utf7() {
        for coded in [
            "R&D", "&", "&AOk", "&AO-", "&A-", "&AOl-", "&2D0-", "&A/k-", "&AOkA-",
        ] {
            assert_eq!(decode(coded), None, "{coded}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in any::<String>()) {
            let coded = encode(&name, &['.', '/']);
            prop_assert!(coded.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'.' && b != b'/'));
            prop_assert_eq!(decode(&coded), Some(name));
        }

        #[test]
        fn decoding_never_panics(name in "[&A-Za-z+,-]{0,20}") {
            let _ = decode(&name);
        }
    }
}
