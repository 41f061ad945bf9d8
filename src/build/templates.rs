//! The templates of a profile: checked when it is read, made where they are the same for all machines, and put aside
//! where they are not.

use std::collections::BTreeSet;

use super::lint::rule::{TEMPLATE, VARIABLE};
use super::{BaseAccounts, BuildError, Finding, Place, Recipe, Topic};
use crate::model::template::{Renderer, Template, TemplateError, TemplateSet};
use crate::wire::apkovl::{Entry, Node, Tree};

impl Recipe {
    /// Every template of the profile without a mistake, with the owners and modes that their files will have; what
    /// `render` shows. Whatever else is wrong with the profile is no hindrance.
    ///
    /// # Errors
    /// When a template is wrong.
    pub fn templates(&self, base: &BaseAccounts, epoch: u64) -> Result<Renderer, BuildError> {
        self.renderer(&self.lay(base).tree, epoch)
    }

    /// What is wrong with the templates, or with the variables they know.
    pub fn template_findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|it| [TEMPLATE, VARIABLE].contains(&it.rule))
    }

    /// Looks for mistakes in each template, and takes those that have one out (TPL-2).
    pub(super) fn take_out_bad_templates(&mut self) -> Vec<Finding> {
        let paths = self.templates.clone();
        let mistake = |path: &String| {
            let alone = self.renderer_of(&[path].into(), &self.tree, 0);
            alone.and_then(|renderer| renderer.check()).err().map(|error| (path.clone(), error))
        };
        let wrong: Vec<(String, TemplateError)> = paths.iter().filter_map(mistake).collect();
        wrong
            .into_iter()
            .map(|(path, error)| {
                self.templates.remove(&path);
                let effect = "the machine would get its last good rendering, or none";
                let finding = Finding::new(TEMPLATE, error.to_string(), effect, "correct the template");
                let by = self.trail.owner(Topic::File, &path).unwrap_or_default().to_owned();
                let written = self.written.iter().rev().find(|(layer, _)| *layer == by);
                let place = written.and_then(|(_, written)| written.source(&path));
                let place = place.map(|place| Place { line: error.line(), ..place });
                Finding { place, ..finding.at(path).by(by).left_out() }
            })
            .collect()
    }

    /// The tree with the text of each template in the place of the file that it makes of every machine another, and what
    /// these templates are made with; what is the same on every machine is made.
    ///
    /// # Errors
    /// As [`Recipe::templates`].
    pub fn as_written(&self, base: &BaseAccounts) -> Result<(Tree, Option<TemplateSet>), BuildError> {
        let mut tree = self.raw_tree(base)?;
        let set = self.split(&mut tree, 0)?;
        if let Some(set) = &set {
            place_templates(set, &mut tree);
        }
        Ok((tree, set))
    }

    /// Puts into the place of each template what some machine would have there.
    pub(super) fn show_samples(&self, tree: &mut Tree) {
        // Templates with mistakes are gone by now.
        let Ok(renderer) = self.renderer(tree, 0) else { return };
        // Where no machine that can be thought of will do, the template itself is shown.
        for made in renderer.sample().unwrap_or_default() {
            let Some(template) = renderer.set().files.get(made.template) else { continue };
            put(tree, &template.path, made.text);
        }
    }

    /// Makes the files that are the same on every machine, and takes the templates of the others out of the tree.
    pub(super) fn split(&self, tree: &mut Tree, epoch: u64) -> Result<Option<TemplateSet>, BuildError> {
        let renderer = self.renderer(tree, epoch)?;
        let set = renderer.set();
        let (common, own) = renderer.split();
        let common = self.parsed(TemplateSet::new(epoch, set.profile.clone(), set.vars.clone(), common))?;
        for made in common.sample().map_err(|source| self.wrong(source))? {
            let Some(template) = common.set().files.get(made.template) else { continue };
            put(tree, &template.path, made.text);
        }
        for template in &own {
            tree.remove(&template.path);
        }
        Ok((!own.is_empty()).then(|| TemplateSet::new(epoch, set.profile.clone(), set.vars.clone(), own)))
    }

    fn renderer(&self, tree: &Tree, epoch: u64) -> Result<Renderer, BuildError> {
        self.renderer_of(&self.templates.iter().collect(), tree, epoch).map_err(|source| self.wrong(source))
    }

    /// The renderer of some of the templates.
    fn renderer_of(&self, paths: &BTreeSet<&String>, tree: &Tree, epoch: u64) -> Result<Renderer, TemplateError> {
        let mut files = Vec::new();
        for path in paths.iter().copied() {
            // A link to a service may have taken its place.
            let Some((entry, Node::File(bytes))) = tree.get(path).map(|entry| (entry, &entry.node)) else { continue };
            let text = String::from_utf8(bytes.to_vec()).map_err(|_| {
                let why = "it is not UTF-8 text".to_owned();
                TemplateError::Template { path: path.clone(), line: 1, why }
            })?;
            let (uid, gid) = (entry.owner.uid, entry.owner.gid);
            files.push(Template { path: path.clone(), mode: entry.mode, uid, gid, text });
        }
        Renderer::new(TemplateSet::new(epoch, self.facts.clone(), self.vars.clone(), files))
    }

    fn parsed(&self, set: TemplateSet) -> Result<Renderer, BuildError> {
        Renderer::new(set).map_err(|source| self.wrong(source))
    }

    /// An error with the layer whose template it is.
    fn wrong(&self, source: TemplateError) -> BuildError {
        let path = match &source {
            TemplateError::Template { path, .. }
            | TemplateError::TooLarge { path }
            | TemplateError::TooMuch { path } => Some(path),
            _ => None,
        };
        let owner = path.and_then(|path| self.trail.owner(Topic::File, path));
        let origin = owner.map_or_else(|| format!("profile {}", self.name), str::to_owned);
        BuildError::Template { origin, source }
    }
}

/// Puts the text of each template into the place of its file.
pub fn place_templates(set: &TemplateSet, tree: &mut Tree) {
    for template in &set.files {
        let (mode, owner) = (template.mode, template.owner());
        tree.insert(&template.path, Entry { mode, owner, ..Entry::file(template.text.clone()) });
    }
}

/// Gives a file another content.
fn put(tree: &mut Tree, path: &str, text: String) {
    if let Some(mut entry) = tree.get(path).cloned() {
        entry.node = Node::File(text.into());
        tree.insert(path, entry);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::build::{OVERLAY_FILE, Overlay};
    use crate::wire::apkovl::Prefix;

    const SHADOW: &str = "root:*:0:0:99999:7:::\n";

    /// A profile with these files in its `root/`, read.
    fn read(toml: &str, files: &[(&str, &str)]) -> Result<Recipe, String> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("p/x/profile.toml", &format!("services.sysinit = [\"devfs\"]\n{toml}"));
        write("p/x/root/etc/shadow", SHADOW);
        files.iter().for_each(|(name, text)| write(&format!("p/x/root/{name}"), text));
        let recipe = Recipe::load(&folder.path().join("p"), Path::new("none"), &"x".parse().unwrap());
        recipe.map_err(|error| {
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            format!("{error}: {source}")
        })
    }

    fn overlay(recipe: &Recipe) -> Overlay {
        recipe.overlay(&BaseAccounts::default(), 7).unwrap()
    }

    fn text(tree: &Tree, path: &str) -> String {
        match &tree.get(path).unwrap().node {
            Node::File(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_the_same_on_every_machine_is_made_by_the_build() {
        let recipe = read("", &[("etc/motd.tmpl", "This is {{ profile.name }}.\n")]).unwrap();
        let made = overlay(&recipe);
        assert_eq!(made.templates, None);
        let mut tree = recipe.raw_tree(&BaseAccounts::default()).unwrap();
        recipe.split(&mut tree, 7).unwrap();
        assert_eq!(text(&tree, "etc/motd"), "This is x.\n");
        assert!(tree.get("etc/motd.tmpl").is_none());
    }

    #[test]
    fn what_is_not_goes_into_a_document_with_its_mode_and_owner_and_out_of_the_archive() {
        let toml = "[vars]\nseat = \"none\"\n[files]\n\"etc/seat\" = { mode = \"0600\", owner = \"5:6\" }\n\
                    [[allow]]\nrule = \"OVL-14\"\nreason = \"a test\"";
        let recipe =
            read(toml, &[("etc/seat.tmpl", "{{ vars.seat }}"), ("etc/motd.tmpl", "{{ profile.name }}")]).unwrap();
        let made = overlay(&recipe);
        let set = TemplateSet::parse(&made.templates.clone().unwrap()).unwrap();
        assert_eq!(set.epoch, 7);
        let [file] = &set.files[..] else { panic!("{set:?}") };
        assert_eq!((file.path.as_str(), file.mode, file.uid, file.gid), ("etc/seat", 0o600, 5, 6));
        assert!(Prefix::recover(made.archive.clone().into(), 7).is_some());
        let mut tree = recipe.raw_tree(&BaseAccounts::default()).unwrap();
        recipe.split(&mut tree, 7).unwrap();
        assert!(tree.get("etc/seat").is_none() && tree.get(OVERLAY_FILE).is_none());
        assert_eq!(text(&recipe.tree(&BaseAccounts::default()).unwrap(), "etc/seat"), "none");
        let other =
            read(toml, &[("etc/seat.tmpl", "{{ vars.seat }}!"), ("etc/motd.tmpl", "{{ profile.name }}")]).unwrap();
        assert_ne!(overlay(&other).content, made.content, "a machine's report tells the templates apart");
        assert_eq!(overlay(&recipe).archive, made.archive);
    }

    #[test]
    fn a_mistake_stops_the_build_and_names_layer_file_and_line() {
        let error = read("[vars]\nseat = \"1\"", &[("etc/x.tmpl", "a\n{{ vars.sat }}")]).unwrap_err();
        let said = "etc/x.tmpl, line 2: there is no `vars.sat`; did you mean `vars.seat`? (TPL-2) [profile x, ";
        assert!(error.contains(said), "{error}");
        for reserved in ["etc/passwd.tmpl", "etc/apk/world.tmpl", "etc/bivouac/overlay.tmpl", "etc/.tmpl"] {
            let error = read("", &[(reserved, "x")]).unwrap_err();
            assert!(error.contains(&format!("{reserved} cannot be a template (TPL-2)")), "{error}");
        }
    }

    #[test]
    fn a_later_file_wins_over_a_template_and_a_later_template_over_a_file() {
        let recipe = read("hostname = \"said\"", &[("etc/hostname.tmpl", "{{ machine.mac }}")]).unwrap();
        assert_eq!(overlay(&recipe).templates, None, "the profile says a name");
        let recipe = read("", &[("etc/hostname.tmpl", "{{ machine.mac }}")]).unwrap();
        assert!(overlay(&recipe).templates.is_some());
    }
}
