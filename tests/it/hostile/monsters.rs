//! Mail as nobody should send it, made the same way every time.

/// A message and what is wrong with it.
pub(crate) type Monster = (String, Vec<u8>);

/// What the store's own files begin with, and its batches, footers, images and pieces.
pub(crate) const MAGICS: [&[u8; 8]; 12] = [
    b"MKBATCH1",
    b"MKSEGMT1",
    b"MKSEGLS1",
    b"MKMANIF1",
    b"MKFOOTR1",
    b"MKTAIL0\0",
    b"MKCHECK1",
    b"MKDIRUN1",
    b"MKIMAGE1",
    b"MKIBASE1",
    b"MKIPIEC1",
    b"MKBATCH1",
];

/// Bodies of up to some hundred bytes: each is tried in ways that cost much.
pub(crate) fn small() -> Vec<Monster> {
    let lists: [&[&[u8]]; 6] = [
        &[
            b"x", b"\0", b"\n", b"\r", b" ", b":", b"\xff", b"\r\n", b"\n\r", b"\r\r", b"\0\0",
        ],
        &[
            b"From ",
            b"From a@b Thu Jan  1 00:00:00 2004\n",
            b">From x\n",
            b"\n\nFrom a@b Thu Jan  1 00:00:00 2004\n\n",
        ],
        &[
            b"Subject:",
            b"Subject:\r",
            b"Subject: a\rTo: b\rCc: c\r\r",
            b"Subject: a\n\r\nTo: b\r\n\n",
            b": x\n: y\n",
            b"\n\nSubject: late\n",
        ],
        &[
            b"Subject: =?utf-8?q?=\r\n",
            b"Subject: =?x?b?====?=\n\n",
            b"Date: \n",
            b"Date: 99 Foo 99999 99:99:99 +9999\n\n",
            b"Date: 31 Feb 0000 24:60:61 -2400\n\n",
            b"Message-ID: <\n\n",
            b"Message-ID: <>\n\n",
            b"Message-ID: ><\n\n",
        ],
        &[
            b"S\xfcbject: gr\xfc\xdfe\r\nTo: \xc3\x28\r\n\r\n\x80\x81",
            b"Subject: \xed\xa0\x80 \xf4\x90\x80\x80\n\n",
            b"\xef\xbb\xbfSubject: bom\n\n",
            b"\xff\xfeS\0u\0b\0\n\0",
        ],
        &[
            b"\x1f\x8b\x08",
            b"\x28\xb5\x2f\xfd",
            b"\x7fELF",
            b"PK\x03\x04",
            b"\x50\x2a\x4d\x18\xff\xff\xff\xff",
        ],
    ];
    let raws = lists.into_iter().flatten();
    let named = raws.map(|raw| (raw.escape_ascii().to_string(), raw.to_vec()));
    let magics = MAGICS.map(|magic| (magic.escape_ascii().to_string(), magic.to_vec()));
    named.chain(magics).collect()
}

/// Bodies of up to some tens of thousands of bytes.
pub(crate) fn middling() -> Vec<Monster> {
    let mut all = Vec::new();
    for len in [495, 511, 512, 513, 4096, 8192, 60_000] {
        all.push((format!("{len} zeroes"), vec![0; len]));
        all.push((format!("{len} of all ones"), vec![0xff; len]));
    }
    // Zeroes with one byte that is none, first or last: a sector that looks as if it was never written, and is.
    let mut first = vec![0; 9000];
    first[0] = 1;
    let last: Vec<u8> = first.iter().rev().copied().collect();
    all.extend([
        ("zeroes behind a byte".into(), first),
        ("a byte behind zeroes".into(), last),
    ]);
    // Magic where records, bodies and batches may begin: at each multiple of 8, and at each sector.
    let words = MAGICS.iter().cycle().take(4096).copied().flatten().copied();
    all.push(("magic at every eighth byte".into(), words.collect()));
    for shift in 0..8 {
        let mut raw = vec![b'm'; 512 * 24];
        for (at, magic) in (0..24).zip(MAGICS.iter().cycle()) {
            let at = at * 512 + shift * 64;
            raw[at..at + 8].copy_from_slice(*magic);
        }
        all.push((format!("magic at sectors and {}", shift * 64), raw));
    }
    all
}

/// Large ones: what makes a parser slow, hungry or deep.
pub(crate) fn large() -> Vec<Monster> {
    const MIB: usize = 1 << 20;
    let lines = |line: &str, count: usize| line.repeat(count).into_bytes();
    let numbered = |head: &str, count: usize| -> Vec<u8> {
        let lines = (0..count).map(|n| format!("{head}-{n}: value {n}\r\n"));
        (lines.collect::<String>() + "\r\nbody\r\n").into_bytes()
    };
    let headed = |head: &[u8], fill: &[u8], len: usize, tail: &[u8]| -> Vec<u8> {
        let fill = fill.iter().copied().cycle().take(len);
        head.iter()
            .copied()
            .chain(fill)
            .chain(tail.iter().copied())
            .collect()
    };
    let levels: String = (0..10_000)
        .map(|n| format!("Content-Type: multipart/mixed; boundary=\"{n}\"\r\n\r\n--{n}\r\n"))
        .collect();
    let rfc822 = lines("Content-Type: message/rfc822\r\n\r\n", 10_000);
    let mixed: Vec<u8> = [&b"\r\n"[..], b"\n", b"\r", b"\0", b"\r\r\n", b"\n\r"]
        .iter()
        .copied()
        .cycle()
        .take(200_000)
        .flatten()
        .copied()
        .collect();
    let word = "=?utf-8?b?".to_owned() + &"w6".repeat(300_000) + "?=";
    let named = [
        (
            "a header line of 1 MiB",
            headed(b"Subject: ", b"x", MIB, b"\r\n\r\nbody\r\n"),
        ),
        (
            "a header line of 1 MiB without an end",
            headed(b"Subject: ", b"x", MIB, b""),
        ),
        (
            "a field name of 1 MiB",
            headed(b"", b"Subject", MIB, b": x\r\n\r\n"),
        ),
        (
            "1 MiB of foldings",
            headed(b"Subject: a", b"\r\n ", MIB, b"\r\n\r\n"),
        ),
        ("100,000 header lines", numbered("X-Line", 100_000)),
        ("100,000 subjects", lines("Subject: again\r\n", 100_000)),
        (
            "100,000 dates",
            lines("Date: Thu, 1 Jan 2004 00:00:00 +0000\r\n", 100_000),
        ),
        (
            "a date of 60,000 brackets",
            headed(b"Date: ", b"(", 60_000, b"\r\n\r\n"),
        ),
        (
            "a date of 60,000 words",
            headed(b"Date: ", b"Thu, 1 ", 60_000, b"\r\n\r\n"),
        ),
        (
            "an id of 60,000 brackets",
            headed(b"Message-ID: ", b"<", 60_000, b"\r\n\r\n"),
        ),
        ("10,000 MIME levels", levels.into_bytes()),
        ("10,000 messages in messages", rfc822),
        ("1 MiB of NUL", vec![0; MIB]),
        ("1 MiB of NUL and one", vec![0; MIB + 1]),
        ("1 MiB of LF", vec![b'\n'; MIB]),
        ("1 MiB of CR", vec![b'\r'; MIB]),
        ("every kind of line end", mixed),
        (
            "an encoded word of 600,000 bytes",
            format!("Subject: {word}\r\n\r\n").into_bytes(),
        ),
        (
            "8-bit headers",
            headed(b"Subject: ", b"\xe9\xff\xc3\x28", 100_000, b"\r\n\r\n\x80"),
        ),
        ("colons", headed(b"", b":", MIB, b"")),
        (
            "From_ lines",
            lines("From a@b Thu Jan  1 00:00:00 2004\n", 20_000),
        ),
    ];
    named.map(|(what, raw)| (what.to_owned(), raw)).into()
}

/// All of them.
pub(crate) fn all() -> Vec<Monster> {
    [small(), middling(), large()].concat()
}
