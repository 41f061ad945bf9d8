//! Pages of folders, for people and for sites that look what there is. They are made anew: of upstream's page nothing gets
//! through but names that a mirror of Alpine has, and lengths.

use std::fmt::Write as _;

use super::place::Folder;
use crate::fetch::PageEntry;

/// The page of a folder that has these entries upstream, as nginx would write it with exact lengths; nothing when none of
/// them is shown.
pub(super) fn page(folder: &Folder, entries: &[PageEntry]) -> Option<String> {
    let mut rows = String::new();
    for PageEntry { name, is_folder, size } in entries.iter().filter(|it| folder.shows(&it.name, it.is_folder)) {
        // These names have no character that HTML or an address would have to escape.
        let slash = if *is_folder { "/" } else { "" };
        let size = size.map_or_else(|| "-".to_owned(), |size| size.to_string());
        let _ = writeln!(rows, "<a href=\"{name}{slash}\">{name}{slash}</a> {size}");
    }
    let title = format!("Index of /alpine/{}", folder.path);
    let head = format!("<!DOCTYPE html>\n<html><head><title>{title}</title></head><body>\n<h1>{title}</h1>");
    (!rows.is_empty()).then(|| format!("{head}<hr><pre><a href=\"../\">../</a>\n{rows}</pre><hr></body></html>\n"))
}
