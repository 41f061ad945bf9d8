//! A survey of a mirror in memory.

use std::sync::Mutex;

use super::*;

/// How the mirror's web server answers for a folder.
#[derive(Clone, Copy, PartialEq)]
enum Pages {
    Exact,
    Rounded,
    None,
}

/// A mirror in memory: texts by path, files by path and length. Its answers take turns that `pace` changes.
struct Fake {
    files: BTreeMap<String, u64>,
    texts: BTreeMap<String, String>,
    pages: Pages,
    pace: usize,
    asked: Mutex<Vec<String>>,
    under_way: Mutex<(usize, usize)>,
}

const BASE: &str = "http://mirror.example/alpine";

impl Fake {
    fn new(pages: Pages) -> Self {
        let (files, texts) = (BTreeMap::new(), BTreeMap::new());
        Self { files, texts, pages, pace: 1, asked: Mutex::default(), under_way: Mutex::default() }
    }

    /// With a release: a tarball of 1000 bytes, and flavors whose three files have 1, 20 and 300 bytes.
    fn release(mut self, version: &str, arch: &str, flavors: &[&str]) -> Self {
        let branch = version.parse::<Version>().unwrap().branch();
        let folder = format!("{branch}/releases/{arch}");
        self.files.insert(format!("{folder}/alpine-netboot-{version}-{arch}.tar.gz"), 1000);
        self.files.insert(format!("{folder}/alpine-netboot-{version}-{arch}.tar.gz.sha256"), 64);
        for flavor in flavors {
            for (part, size) in KINDS.into_iter().zip([1, 20, 300]) {
                self.files.insert(format!("{folder}/netboot-{version}/{part}-{flavor}"), size);
            }
        }
        self
    }

    fn file(mut self, path: &str) -> Self {
        self.files.insert(path.to_owned(), 7);
        self
    }

    /// With a list of releases in a folder, which names one version.
    fn list(mut self, folder: &str, version: &str, arch: &str) -> Self {
        let branch = version.parse::<Version>().unwrap().branch();
        let (short, long) = ("1".repeat(64), "2".repeat(128));
        let list = format!(
            "- flavor: alpine-netboot\n  branch: {branch}\n  arch: {arch}\n  version: {version}\n  size: 1000\n  \
             file: alpine-netboot-{version}-{arch}.tar.gz\n  sha256: {short}\n  sha512: {long}\n"
        );
        self.texts.insert(format!("{folder}/releases/{arch}/latest-releases.yaml"), list);
        self
    }

    fn text_at(mut self, path: &str, text: &str) -> Self {
        self.texts.insert(path.to_owned(), text.to_owned());
        self
    }

    fn page(&self, folder: &str) -> Option<String> {
        let mut rows: BTreeMap<String, String> = BTreeMap::new();
        for (path, size) in &self.files {
            let Some(below) = path.strip_prefix(folder) else { continue };
            let (name, column) = match below.split_once('/') {
                Some((name, _)) => (format!("{name}/"), "-".to_owned()),
                None if self.pages == Pages::Exact => (below.to_owned(), size.to_string()),
                None => (below.to_owned(), "1K".to_owned()),
            };
            rows.insert(name.clone(), format!("<a href=\"{name}\">{name}</a>  10-Jun-2026 09:14  {column}\n"));
        }
        (self.pages != Pages::None && !rows.is_empty()).then(|| rows.into_values().collect())
    }

    async fn answer(&self, url: &str, method: &str) -> String {
        let path = url.strip_prefix(BASE).unwrap().strip_prefix('/').unwrap().to_owned();
        let turns = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(format!("{method} {path}"));
            1 + asked.len() * self.pace % 7
        };
        {
            let mut under_way = self.under_way.lock().unwrap();
            under_way.0 += 1;
            under_way.1 = under_way.1.max(under_way.0);
        }
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        self.under_way.lock().unwrap().0 -= 1;
        path
    }

    fn asked(&self, method: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let mut asked: Vec<String> = asked.iter().filter_map(|it| Some(it.strip_prefix(method)?.to_owned())).collect();
        asked.sort();
        asked
    }
}

impl Folder for Fake {
    type Error = String;

    async fn text(&self, url: &str) -> Result<Option<Vec<u8>>, String> {
        let path = self.answer(url, "GET").await;
        let text = match self.texts.get(&path) {
            Some(text) if text == "refused" => return Err(format!("{path} was refused")),
            Some(text) => Some(text.clone()),
            None if path.is_empty() || path.ends_with('/') => self.page(&path),
            None => None,
        };
        Ok(text.map(String::into_bytes))
    }

    async fn length(&self, url: &str) -> Result<Option<u64>, String> {
        let path = self.answer(url, "HEAD").await;
        Ok(self.files.get(&path).copied())
    }
}

fn scope(branch: Option<&str>, arch: Option<&str>) -> Scope {
    let branch = branch.map(|it| it.parse().unwrap());
    Scope { branch, arch: arch.map(|it| it.parse().unwrap()), usual_arch: "x86_64".parse().unwrap() }
}

/// Each offer in a line: version, architecture, `*` for the newest, tarball, flavors with their sizes.
fn shown(survey: &Survey) -> Vec<String> {
    let size = |size: Option<u64>| size.map_or("?".to_owned(), |it| it.to_string());
    let line = |it: &Offer| {
        let flavors: String = it.flavors.iter().map(|it| format!(" {}={}", it.flavor, size(it.size))).collect();
        let newest = if it.is_newest { "*" } else { "" };
        format!("{} {}{newest} {}{flavors}", it.version, it.arch, size(it.tarball))
    };
    survey.offers.iter().map(line).collect()
}

fn mirror(pages: Pages) -> Fake {
    Fake::new(pages)
        .release("20260101", "x86_64", &["lts"])
        .release("20251101", "x86_64", &["lts"])
        .release("3.24.0", "x86_64", &["lts", "virt"])
        .release("3.24.1", "x86_64", &["virt", "lts"])
        .release("3.24.10", "x86_64", &["virt", "lts"])
        .release("3.24.0_rc1", "x86_64", &["lts"])
        .release("3.24.1", "aarch64", &["rpi"])
        .release("3.9.6", "x86_64", &["vanilla"])
        .file("v3.25/main/x86_64/APKINDEX.tar.gz")
        .file("v2.7/releases/x86/alpine-2.7.9-x86.iso")
        .file("v3.24/releases/cloud/alpine-cloud.qcow2")
        .file("MIRRORS.txt")
        .list("latest-stable", "3.24.10", "x86_64")
}

#[tokio::test]
async fn an_overview_has_the_newest_release_of_each_branch() {
    let fake = mirror(Pages::Exact);
    let survey = survey(&fake, BASE, &scope(None, None)).await.unwrap();
    assert_eq!(
        shown(&survey),
        [
            "3.24.10 x86_64* 1000 lts=321 virt=321",
            "3.24.1 aarch64* 1000 rpi=321",
            "3.9.6 x86_64* 1000 vanilla=321",
            "20260101 x86_64* 1000 lts=321",
        ]
    );
    assert_eq!(survey.latest_stable.unwrap().to_string(), "v3.24");
    assert_eq!(survey.empty.iter().map(Branch::to_string).collect::<Vec<_>>(), ["v3.25", "v2.7"]);
    assert_eq!(survey.notes, [] as [&str; 0]);
    // The root, 5 branches, 6 of architectures with `cloud`, 4 releases, and the list of the newest.
    assert_eq!((fake.asked("GET ").len(), fake.asked("HEAD ").len()), (1 + 5 + 6 + 4 + 1, 0));
}

#[tokio::test]
async fn a_branch_is_shown_with_all_its_versions() {
    let fake = mirror(Pages::Exact);
    let survey = survey(&fake, BASE, &scope(Some("v3.24"), None)).await.unwrap();
    assert_eq!(
        shown(&survey),
        [
            "3.24.10 x86_64* 1000 lts=321 virt=321",
            "3.24.1 aarch64* 1000 rpi=321",
            "3.24.1 x86_64 1000 lts=321 virt=321",
            "3.24.0 x86_64 1000 lts=321 virt=321",
            "3.24.0_rc1 x86_64 1000 lts=321",
        ]
    );
    assert_eq!(survey.empty, []);
}

#[tokio::test]
async fn one_architecture_needs_no_page_of_architectures() {
    let fake = mirror(Pages::Exact);
    let survey = survey(&fake, &format!("{BASE}/"), &scope(Some("v3.24"), Some("aarch64"))).await.unwrap();
    assert_eq!(shown(&survey), ["3.24.1 aarch64* 1000 rpi=321"]);
    assert_eq!(
        fake.asked("GET "),
        [
            "",
            "latest-stable/releases/aarch64/latest-releases.yaml",
            "v3.24/releases/aarch64/",
            "v3.24/releases/aarch64/netboot-3.24.1/",
        ]
    );
    assert_eq!(survey.latest_stable, None);
}

#[tokio::test]
async fn sizes_that_a_page_rounds_are_asked_for_one_by_one() {
    let fake = mirror(Pages::Rounded);
    let survey = survey(&fake, BASE, &scope(Some("edge"), None)).await.unwrap();
    assert_eq!(shown(&survey), ["20260101 x86_64* 1000 lts=321", "20251101 x86_64 1000 lts=321"]);
    assert_eq!(fake.asked("HEAD ").len(), 2 * (1 + 3));
}

#[tokio::test]
async fn a_branch_that_the_mirror_has_not_is_named() {
    let survey = survey(&mirror(Pages::Exact), BASE, &scope(Some("v3.99"), None)).await.unwrap();
    assert_eq!((survey.offers.as_slice(), survey.empty.as_slice()), (&[][..], &[][..]));
    assert_eq!(survey.notes, ["the mirror has no branch v3.99"]);

    let hidden = super::survey(&Fake::new(Pages::None), BASE, &scope(Some("v3.99"), None)).await.unwrap();
    assert_eq!(hidden.notes.last().unwrap(), "the mirror has no releases of v3.99 for x86_64");
}

#[tokio::test]
async fn the_order_of_the_answers_does_not_matter_and_few_are_awaited_at_once() {
    let mut surveys = Vec::new();
    for pace in 1..7 {
        let fake = Fake { pace, ..mirror(Pages::Rounded) };
        surveys.push(survey(&fake, BASE, &scope(None, None)).await.unwrap());
        let most = fake.under_way.lock().unwrap().1;
        assert!((2..=PARALLEL).contains(&most), "{most}");
    }
    assert!(surveys.iter().all(|it| *it == surveys[0]));
    let wide = (0..30).fold(Fake { pace: 3, ..Fake::new(Pages::Exact) }, |fake, minor| {
        fake.release(&format!("3.{minor}.0"), "x86_64", &["lts"])
    });
    assert_eq!(survey(&wide, BASE, &scope(None, None)).await.unwrap().offers.len(), 30);
    assert_eq!(wide.under_way.lock().unwrap().1, PARALLEL);
}

#[tokio::test]
async fn without_folder_pages_the_lists_of_releases_are_followed_down() {
    let fake = Fake::new(Pages::None)
        .list("latest-stable", "3.24.1", "x86_64")
        .list("edge", "20260101", "x86_64")
        .list("v3.24", "3.24.1", "x86_64")
        .list("v3.22", "3.22.5", "x86_64")
        .text_at("v3.21/releases/x86_64/latest-releases.yaml", "[]")
        .text_at("v3.20/releases/x86_64/latest-releases.yaml", "<html>")
        .list("v3.19", "3.18.0", "x86_64")
        .list("v3.16", "3.16.9", "x86_64");
    let survey = survey(&fake, BASE, &scope(None, None)).await.unwrap();
    // 3.23 alone is a gap; 3.18 and 3.17 are the end.
    assert_eq!(shown(&survey), ["3.24.1 x86_64* 1000", "3.22.5 x86_64* 1000", "20260101 x86_64* 1000"]);
    assert_eq!(survey.latest_stable.unwrap().to_string(), "v3.24");
    assert_eq!(survey.empty.iter().map(Branch::to_string).collect::<Vec<_>>(), ["v3.21"]);
    let [folders, broken, other, flavors] = survey.notes.as_slice() else { panic!("{:?}", survey.notes) };
    assert_eq!(
        folders,
        "the mirror shows no folders: only the newest release of each branch for x86_64 was looked for"
    );
    assert!(broken.starts_with(&format!("{BASE}/v3.20/releases/x86_64/latest-releases.yaml cannot be used: ")));
    assert!(other.ends_with("it names the branch `v3.18`, expected `v3.19`"), "{other}");
    assert_eq!(flavors, "the mirror does not show which flavors 3 of 3 releases have");
    assert_eq!(fake.asked("HEAD ").len(), 0);
}

#[tokio::test]
async fn a_page_without_branches_is_no_folder_page() {
    let fake = mirror(Pages::Exact)
        .text_at("", "<h1>Welcome</h1><a href=\"about/\">about</a>")
        .list("v3.24", "3.24.10", "x86_64");
    let survey = survey(&fake, BASE, &scope(Some("v3.24"), None)).await.unwrap();
    assert_eq!(shown(&survey), ["3.24.10 x86_64* 1000 lts=321 virt=321"]);
    assert_eq!(survey.notes.len(), 1);
}

#[tokio::test]
async fn a_mirror_that_shows_nothing_has_nothing() {
    let fake = Fake::new(Pages::None);
    let survey = survey(&fake, BASE, &scope(None, None)).await.unwrap();
    assert_eq!(survey, Survey { notes: survey.notes.clone(), ..Survey::default() });
    assert_eq!(fake.asked("GET ").len(), 3);
}

#[tokio::test]
async fn a_tarball_that_is_linked_twice_or_lies_in_the_wrong_folder_makes_no_second_release() {
    let name = |version: &str, arch: &str| format!("alpine-netboot-{version}-{arch}.tar.gz");
    let links = [
        name("3.24.1", "x86_64"),
        name("3.23.0", "x86_64"),
        name("3.24.0", "x86"),
        name("20260101", "x86_64"),
        name("../3", "x86_64"),
        name("3.24.1", "x86_64"),
    ];
    let page: String = links.iter().map(|it| format!("<a href=\"{it}\">x</a> {}\n", it.len())).collect();
    let fake = Fake::new(Pages::None).text_at("", "<a href=v3.24/>").text_at("v3.24/releases/x86_64/", &page);
    let survey = survey(&fake, BASE, &scope(Some("v3.24"), Some("x86_64"))).await.unwrap();
    assert_eq!(shown(&survey), ["3.24.1 x86_64* 35"]);
}

#[tokio::test]
async fn a_flavor_counts_when_its_three_files_are_there() {
    let mut fake = mirror(Pages::Exact);
    fake.files.remove("v3.9/releases/x86_64/netboot-3.9.6/modloop-vanilla");
    fake.files.insert("v3.9/releases/x86_64/netboot-3.9.6/vmlinuz-lts.asc".to_owned(), 1);
    let survey = survey(&fake, BASE, &scope(Some("v3.9"), None)).await.unwrap();
    assert_eq!(shown(&survey), ["3.9.6 x86_64* 1000"]);
    assert_eq!(survey.notes, ["the mirror does not show which flavors 1 of 1 releases have"]);
}

#[tokio::test]
async fn sizes_that_cannot_be_are_not_known() {
    let mut fake = Fake::new(Pages::Exact).release("3.24.1", "x86_64", &["lts"]);
    fake.files.insert("v3.24/releases/x86_64/netboot-3.24.1/modloop-lts".to_owned(), u64::MAX);
    let survey = survey(&fake, BASE, &scope(None, None)).await.unwrap();
    assert_eq!(shown(&survey), ["3.24.1 x86_64* 1000 lts=?"]);
}

#[tokio::test]
async fn a_hostile_mirror_is_asked_a_bounded_number_of_times() {
    let links = |name: &dyn Fn(usize) -> String| -> String {
        (0..4000).map(|it| format!("<a href=\"{}\">x</a>\n", name(it))).collect()
    };
    let fake = Fake::new(Pages::None)
        .text_at("", &links(&|it| format!("v3.{it}/")))
        .text_at("v3.3999/releases/", &links(&|it| format!("arch{it}/")))
        .text_at("v3.3999/releases/arch0/", &links(&|it| format!("alpine-netboot-3.3999.{it}-arch0.tar.gz")))
        .text_at("v3.3999/releases/arch0/netboot-3.3999.3999/", &links(&|it| format!("{}-f{}", KINDS[it % 3], it / 3)));
    let overview = survey(&fake, BASE, &scope(None, None)).await.unwrap();
    assert_eq!((overview.offers.len(), overview.offers[0].flavors.len()), (1, MOST_FLAVORS));
    assert_eq!(overview.empty.len(), MOST_BRANCHES - 1);
    assert_eq!(fake.asked("GET ").len(), 1 + MOST_BRANCHES + MOST_ARCHES + 1 + 1);
    let branch = survey(&fake, BASE, &scope(Some("v3.3999"), None)).await.unwrap();
    assert_eq!(branch.offers.len(), MOST_VERSIONS);
}

#[tokio::test]
async fn a_request_that_fails_ends_the_survey() {
    let fake = mirror(Pages::Exact).text_at("v3.24/releases/x86_64/", "refused");
    let failed = survey(&fake, BASE, &scope(None, None)).await;
    assert_eq!(failed.unwrap_err(), "v3.24/releases/x86_64/ was refused");
}

#[tokio::test]
async fn json_has_names_as_text() {
    let survey = survey(&mirror(Pages::Exact), BASE, &scope(Some("v3.9"), None)).await.unwrap();
    assert_eq!(
        serde_json::to_string(&survey).unwrap(),
        r#"{"latest_stable":"v3.24","offers":[{"branch":"v3.9","version":"3.9.6","arch":"x86_64","tarball":1000,"is_newest":true,"flavors":[{"flavor":"vanilla","size":321}]}],"empty":[],"notes":[]}"#
    );
}

#[test]
fn a_survey_may_run_on_any_thread() {
    fn is_send(_: impl Send) {}
    is_send(survey(&mirror(Pages::Exact), BASE, &scope(None, None)));
}
