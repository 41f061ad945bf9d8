//! Folder pages of web servers: which files and folders they link to. Pure, and no HTML parser: every server that lists
//! folders writes one link per entry and the columns behind it, and that is all that is looked at.

/// The most of a page that is read, in bytes, and the most entries taken from it. The longest page of Alpine's mirrors,
/// of a branch's releases for one architecture, has about 70 KiB and 500 entries.
pub(super) const LARGEST_PAGE: usize = 1 << 20;
const MOST_ENTRIES: usize = 4096;

/// The longest name; no file system in use has longer ones.
const LONGEST_NAME: usize = 255;

/// A file or folder that a page links to, directly below the page's own folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageEntry {
    /// Its name, decoded; one segment of a path, never `.` or `..`.
    pub name: String,
    /// Whether the link ends in `/`, as all servers write it for folders.
    pub is_folder: bool,
    /// A file's length in bytes, when the page shows it exactly and not as `27M`.
    pub size: Option<u64>,
}

/// What the page at the address `page`, which ends in `/`, links to; in its order. Links to anything but a direct child
/// are left out, as are names that only HTML entities can write, which Alpine does not use.
pub(super) fn entries(html: &[u8], page: &str) -> Vec<PageEntry> {
    let html = String::from_utf8_lossy(html.get(..LARGEST_PAGE).unwrap_or(html));
    let mut found: Vec<PageEntry> = Vec::new();
    let (mut is_child, mut is_behind) = (false, false);
    for piece in html.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').unwrap_or((piece, ""));
        let (element, attributes) = tag.split_once(|it: char| it.is_ascii_whitespace()).unwrap_or((tag, ""));
        if element.eq_ignore_ascii_case("a") {
            let entry = href(attributes).and_then(|it| child(it, page));
            (is_child, is_behind) = (entry.is_some(), false);
            // An icon may be a link of its own, before the name and to the same place.
            if let Some(entry) = entry
                && found.last().is_none_or(|last| last.name != entry.name)
            {
                if found.len() == MOST_ENTRIES {
                    break;
                }
                found.push(entry);
            }
        } else if element.eq_ignore_ascii_case("/a") {
            is_behind = is_child;
        }
        if is_behind && let Some(entry) = found.last_mut() {
            let (column, next_line) = text.split_once('\n').map_or((text, None), |(column, rest)| (column, Some(rest)));
            if !entry.is_folder {
                entry.size = entry.size.or_else(|| exact_size(column));
            }
            is_behind = next_line.is_none();
        }
    }
    found
}

/// The target among the attributes of a link.
fn href(attributes: &str) -> Option<&str> {
    let mut rest = attributes;
    while let Some((name, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let quote = after.chars().next().filter(|it| matches!(it, '"' | '\''));
        let (value, next) = match quote {
            Some(quote) => after.strip_prefix(quote)?.split_once(quote)?,
            None => after.split_once(|it: char| it.is_ascii_whitespace()).unwrap_or((after, "")),
        };
        if name.split_ascii_whitespace().next_back().is_some_and(|it| it.eq_ignore_ascii_case("href")) {
            return Some(value);
        }
        rest = next;
    }
    None
}

/// The direct child of `page` that a link leads to; the link may be relative, or repeat the page's address or path.
fn child(href: &str, page: &str) -> Option<PageEntry> {
    let path = page.split_once("://").and_then(|(_, it)| it.find('/').and_then(|at| it.get(at..)));
    let relative = [page, path.unwrap_or("/"), "./"].iter().find_map(|it| href.strip_prefix(it)).unwrap_or(href);
    if relative.contains(['?', '#', ':']) {
        return None;
    }
    let (segment, is_folder) = relative.strip_suffix('/').map_or((relative, false), |it| (it, true));
    let name = decoded(segment)?;
    let is_name = !matches!(name.as_str(), "" | "." | "..")
        && name.len() <= LONGEST_NAME
        && !name.contains(|it: char| matches!(it, '/' | '\\') || it.is_control());
    is_name.then_some(PageEntry { name, is_folder, size: None })
}

/// Percent-decoding (RFC 3986, section 2.1); `None` for what is not UTF-8 then.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        bytes.push(if first == b'%' {
            let (digits, after) = rest.split_first_chunk::<2>()?;
            rest = after;
            let [high, low] = digits.map(|it| char::from(it).to_digit(16));
            u8::try_from(high? * 16 + low?).ok()?
        } else {
            first
        });
    }
    String::from_utf8(bytes).ok()
}

/// The bytes that a column tells: a number alone in its cell, or behind a date and a time as the end of a plain line.
/// Anything else, `2026` at the end of a date for one, is no size.
fn exact_size(column: &str) -> Option<u64> {
    let words: Vec<&str> = column.split_ascii_whitespace().take(4).collect();
    match words.as_slice() {
        [size] => size.parse().ok(),
        [_, time, size] if time.contains(':') => size.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: &str = "https://mirror.example/alpine/v3.24/releases/x86_64/";

    /// The entries of a page, one per line: name, `/` for a folder, size.
    fn listed(html: &str) -> Vec<String> {
        let show = |it: PageEntry| {
            let size = it.size.map(|size| format!(" {size}")).unwrap_or_default();
            format!("{}{}{size}", it.name, if it.is_folder { "/" } else { "" })
        };
        entries(html.as_bytes(), PAGE).into_iter().map(show).collect()
    }

    #[test]
    fn nginx_shows_exact_sizes_or_rounded_ones_above_four_digits() {
        let page = "<html>\r\n<head><title>Index of /alpine/</title></head>\r\n<body>\r\n<h1>Index of /alpine/</h1><hr><pre>\
            <a href=\"../\">../</a>\r\n\
            <a href=\"netboot-3.24.1/\">netboot-3.24.1/</a>                                    10-Jun-2026 09:14       -\r\n\
            <a href=\"alpine-netboot-3.24.1-x86_64.tar.gz\">alpine-netboot-3.24.1-x86_64.tar.gz</a>                10-Jun-2026 09:14           273145856\r\n\
            <a href=\"alpine-netboot-3.24.0-x86_64.tar.gz\">alpine-netboot-3.24.0-x86_64.tar.gz</a>                01-Jun-2026 18:41    204M\r\n\
            <a href=\"alpine-netboot-3.24.0-x86_64.tar.gz.asc\">alpine-netboot-3.24.0-x86_64.tar.gz.asc</a>            01-Jun-2026 19:51     833\r\n\
            <a href=\"alpine-netboot-3.24.0_rc1-x86_64.tar.gz.sha512\">alpine-netboot-3.24.0_rc1-x86_64.tar.gz.sha51..&gt;</a> 02-May-2026 13:39                 170\r\n\
            </pre><hr></body>\r\n</html>\r\n";
        assert_eq!(
            listed(page),
            [
                "netboot-3.24.1/",
                "alpine-netboot-3.24.1-x86_64.tar.gz 273145856",
                "alpine-netboot-3.24.0-x86_64.tar.gz",
                "alpine-netboot-3.24.0-x86_64.tar.gz.asc 833",
                "alpine-netboot-3.24.0_rc1-x86_64.tar.gz.sha512 170",
            ]
        );
    }

    #[test]
    fn nginx_fancyindex_has_the_size_before_the_date() {
        let page = "<table id=\"list\"><thead><tr><th style=\"width:55%\"><a href=\"?C=N&amp;O=A\">File Name</a>&nbsp;<a href=\"?C=N&amp;O=D\">&nbsp;&darr;&nbsp;</a></th></tr></thead>\n\
            <tbody><tr><td class=\"link\"><a href=\"../\">Parent directory/</a></td><td class=\"size\">-</td><td class=\"date\">-</td></tr>\n\
            <tr><td class=\"link\"><a href=\"netboot/\" title=\"netboot\">netboot/</a></td><td class=\"size\">-</td><td class=\"date\">2014-05- 8 00:52:55 </td></tr>\n\
            <tr><td class=\"link\"><a href=\"vmlinuz-lts\" title=\"vmlinuz-lts\">vmlinuz-lts</a></td><td class=\"size\">            13094400</td><td class=\"date\">2026-Jun-10 09:14</td></tr>\n\
            <tr><td class=\"link\"><a href=\"modloop-lts\" title=\"modloop-lts\">modloop-lts</a></td><td class=\"size\">150.2 MiB</td><td class=\"date\">2026-Jun-10 09:14</td></tr>\n\
            </tbody></table>";
        assert_eq!(listed(page), ["netboot/", "vmlinuz-lts 13094400", "modloop-lts"]);
    }

    #[test]
    fn apache_lists_as_plain_text_or_as_a_table_and_rounds() {
        let plain = "<pre><img src=\"/icons/blank.gif\" alt=\"Icon \"> <a href=\"?C=N;O=D\">Name</a>                    <a href=\"?C=M;O=A\">Last modified</a>      <a href=\"?C=S;O=A\">Size</a>  <hr>\
            <img src=\"/icons/back.gif\" alt=\"[PARENTDIR]\"> <a href=\"/alpine/v3.24/releases/\">Parent Directory</a>                             -   \n\
            <img src=\"/icons/folder.gif\" alt=\"[DIR]\"> <a href=\"netboot-3.24.1/\">netboot-3.24.1/</a>         2026-06-10 09:14    -   \n\
            <a href=\"vmlinuz-lts\"><img src=\"/icons/unknown.gif\" alt=\"[   ]\"></a> <a href=\"vmlinuz-lts\">vmlinuz-lts</a>             2026-06-10 09:14   12M  \n\
            <a href=\"a.asc\"><img src=\"/icons/unknown.gif\" alt=\"[   ]\"></a> <a href=\"a.asc\">a.asc</a>                   2026-06-10 09:14  833   \n<hr></pre>";
        assert_eq!(listed(plain), ["netboot-3.24.1/", "vmlinuz-lts", "a.asc 833"]);
        let table = "<tr><th><a href=\"?C=D;O=A\">Description</a></th></tr>\n\
            <tr><td valign=\"top\"><img src=\"/icons/back.gif\" alt=\"[PARENTDIR]\"></td><td><a href=\"/alpine/v3.24/releases/\">Parent Directory</a></td><td>&nbsp;</td><td align=\"right\">  - </td><td>&nbsp;</td></tr>\n\
            <tr><td valign=\"top\"><img src=\"/icons/folder.gif\" alt=\"[DIR]\"></td><td><a href=\"netboot/\">netboot/</a></td><td align=\"right\">2026-06-10 09:14  </td><td align=\"right\">  - </td><td>&nbsp;</td></tr>\n\
            <tr><td valign=\"top\"><img src=\"/icons/compressed.gif\" alt=\"[   ]\"></td><td><a href=\"a.tar.gz\">a.tar.gz</a></td><td align=\"right\">2026-06-10 09:14  </td><td align=\"right\">260M</td><td>&nbsp;</td></tr>\n";
        assert_eq!(listed(table), ["netboot/", "a.tar.gz"]);
    }

    #[test]
    fn lighttpd_rounds_and_ends_with_the_type() {
        let page = "<tr class=\"d\"><td class=\"n\"><a href=\"../\">..</a>/</td><td class=\"m\">&nbsp;</td><td class=\"s\">- &nbsp;</td><td class=\"t\">Directory</td></tr>\n\
            <tr class=\"d\"><td class=\"n\"><a href=\"netboot-3.24.1/\">netboot-3.24.1</a>/</td><td class=\"m\">2026-Jun-10 09:14:33</td><td class=\"s\">- &nbsp;</td><td class=\"t\">Directory</td></tr>\n\
            <tr><td class=\"n\"><a href=\"alpine-netboot-3.24.0%5frc1-x86%5F64.tar.gz\">alpine-netboot-3.24.0_rc1-x86_64.tar.gz</a></td><td class=\"m\">2026-Jun-10 09:14:33</td><td class=\"s\">260.5M</td><td class=\"t\">application/x-gtar-compressed</td></tr>\n";
        assert_eq!(listed(page), ["netboot-3.24.1/", "alpine-netboot-3.24.0_rc1-x86_64.tar.gz"]);
    }

    #[test]
    fn caddy_writes_a_row_over_many_lines() {
        let page = "<a href=\"/\">/</a><a href=\"/alpine/\">alpine</a><a href=\"/alpine/v3.24/releases/\">releases</a>\n\
            <tr class=\"file\">\n\t<td></td>\n\t<td>\n\t\t<a href=\"..\">\n\t\t\t<span class=\"go-up\">Up</span>\n\t\t</a>\n\t</td>\n</tr>\n\
            <tr class=\"file\">\n\t<td></td>\n\t<td>\n\t\t<a href=\"./netboot/\">\n<svg><path d=\"M0 0h24v24H0z\"/></svg>\n\t\t\t<span class=\"name\">netboot/</span>\n\t\t</a>\n\t</td>\n\t<td>&mdash;</td>\n</tr>\n\
            <tr class=\"file\">\n\t<td></td>\n\t<td>\n\t\t<a href=\"./vmlinuz-lts\">\n\t\t\t<span class=\"name\">vmlinuz-lts</span>\n\t\t</a>\n\t</td>\n\
            \t<td class=\"size\" data-size=\"13094400\">\n\t\t<div class=\"sizebar\">\n\t\t\t<div class=\"sizebar-text\">\n\t\t\t\t12 MiB\n\t\t\t</div>\n\t\t</div>\n\t</td>\n\
            \t<td class=\"timestamp hideable\">\n\t\t<time datetime=\"2026-06-10T09:14:33Z\">06/10/2026 09:14:33 AM +00:00</time>\n\t</td>\n</tr>\n\
            <footer>Served with <a rel=\"noopener noreferrer\" href=\"https://caddyserver.com\">Caddy</a></footer>";
        assert_eq!(listed(page), ["netboot/", "vmlinuz-lts"]);
    }

    #[test]
    fn python_shows_names_only() {
        let page = "<h1>Directory listing for /alpine/</h1>\n<hr>\n<ul>\n<li><a href=\"edge/\">edge/</a></li>\n\
            <li><a href=\"latest-stable/\">latest-stable@</a></li>\n<li><a href=\"v3.24/\">v3.24/</a></li>\n\
            <li><a href=\"20240923\">20240923</a></li>\n</ul>\n";
        assert_eq!(listed(page), ["edge/", "latest-stable/", "v3.24/", "20240923"]);
    }

    #[test]
    fn a_link_may_repeat_the_address_or_the_path_of_its_page() {
        let page = "<A class=x HREF='/alpine/v3.24/releases/x86_64/a/'>a</A><a data-href=\"z\" href=b>b</a>\
            <a\nhref = \"https://mirror.example/alpine/v3.24/releases/x86_64/c\">c</a>";
        assert_eq!(listed(page), ["a/", "b", "c"]);
    }

    #[test]
    fn only_direct_children_count() {
        for href in [
            "",
            "/",
            "./",
            "..",
            "../",
            "%2e%2e/",
            ".%2E",
            "a/b",
            "a%2Fb",
            "a//",
            "a%5cb",
            "?C=M;O=A",
            "a?b",
            "#top",
            "//other.example/a",
            "https://other.example/a",
            "https://mirror.example.evil/alpine/v3.24/releases/x86_64/a",
            "/alpine/v3.24/releases/x86_64/../a",
            "mailto:a",
            "javascript:a",
            "%",
            "%0",
            "%+1",
            "%zz",
            "%ff",
            "a%00",
            "a%0a",
            &"a".repeat(256),
        ] {
            assert_eq!(listed(&format!("<a href=\"{href}\">x</a> 1\n")), [] as [&str; 0], "{href:?}");
        }
        assert_eq!(listed("<a name=\"a\">x</a><link href=\"style.css\"><abbr href=\"b\">"), [] as [&str; 0]);
    }

    #[test]
    fn what_is_not_the_size_is_not_taken_for_it() {
        let size = |behind: &str| entries(format!("<a href=\"f\">7</a>{behind}").as_bytes(), PAGE)[0].size;
        assert_eq!(size(" 10-Jun-2026 09:14  1"), Some(1));
        for other in [
            "",
            " -",
            " 10-Jun-2026 09:14 1K",
            " 10 Jun 2026",
            " Wed Jun 10 09:14:33 2026",
            " 10-Jun-2026 09:14 1 2",
            " 10-Jun-2026 09:14\n 1",
            "<a href=\"/\">up</a> 1",
            " 18446744073709551616",
        ] {
            assert_eq!(size(other), None, "{other:?}");
        }
        assert_eq!(listed("<a href=\"d/\">d/</a> 4096"), ["d/"]);
    }

    #[test]
    fn a_page_without_end_is_read_up_to_a_limit() {
        let many: String = (0..5000).map(|it| format!("<a href=\"{it}\">")).collect();
        assert_eq!(entries(many.as_bytes(), PAGE).len(), MOST_ENTRIES);
        let late = format!("{}<a href=\"late\">", " ".repeat(LARGEST_PAGE));
        assert_eq!(listed(&late), [] as [&str; 0]);
    }

    proptest! {
        #[test]
        fn no_page_makes_the_reader_panic(
            bytes: Vec<u8>,
            html in "([<>/a= \"'\n%0-9.?:é-]|href=|</a>|<a ){0,80}",
            page in "(https?://)?[a-z./]{0,12}",
        ) {
            let _ = entries(&bytes, &page);
            for entry in entries(html.as_bytes(), &page) {
                prop_assert!(!entry.name.is_empty() && entry.name != ".." && !entry.name.contains('/'));
            }
        }
    }
}
