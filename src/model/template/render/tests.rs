use proptest::prelude::*;

use super::*;
use crate::model::label::Label;
use crate::model::profile::variable::Kind;

fn declared(kind: Kind, value: Option<Value>, required: Required) -> Declaration {
    Declaration { kind, value, required, description: String::new() }
}

/// A set with a few variables.
pub(in crate::model::template) fn set(files: &[(&str, &str)]) -> TemplateSet {
    let files = files.iter().map(|(path, text)| Template {
        path: (*path).to_owned(),
        mode: 0o644,
        uid: 0,
        gid: 0,
        text: (*text).to_owned(),
    });
    let profile = [("name", "vdi"), ("hostname", "vdi")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    let vars = [
        ("pve_host", declared(Kind::String, Some(Value::String("pve.example.net".to_owned())), Required::No)),
        ("port", declared(Kind::Integer, Some(Value::Integer(8006)), Required::No)),
        ("seat", declared(Kind::String, None, Required::No)),
        ("tags", declared(Kind::List, None, Required::No)),
    ];
    let vars = vars.into_iter().map(|(name, declaration)| (name.to_owned(), declaration)).collect();
    TemplateSet::new(0, profile.into(), vars, files.collect())
}

fn renderer(text: &str) -> Result<Renderer, TemplateError> {
    let renderer = Renderer::new(set(&[("etc/x", text)]))?;
    renderer.check().map(|()| renderer)
}

fn machine() -> Identity {
    Identity::from_texts("52:54:00:00:00:01".parse().unwrap(), "", "PC-7", "efi", "x86_64")
}

fn rendered(text: &str, own: &[(&str, Value)]) -> Result<String, TemplateError> {
    let own = own.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Ok(renderer(text)?.render(&machine(), &Labels::new(), &own)?.remove(0).text)
}

#[test]
fn labels_are_known_beside_what_a_machine_says_of_itself() {
    let labels = ["site=berlin", "room/left=12", "canary"].map(|text| text.parse::<Label>().unwrap());
    let labels: Labels = labels.into_iter().map(|label| (label.key, label.value)).collect();
    let made = |text: &str, labels: &Labels| {
        renderer(text)?.render(&machine(), labels, &Vars::new()).map(|mut it| it.remove(0).text)
    };
    for (text, with, without) in [
        ("{{ machine.labels.site }}", "berlin", None),
        ("{{ machine.labels['room/left']|int + 1 }}", "13", None),
        ("{{ machine.labels.site|default('nowhere') }}", "berlin", Some("nowhere")),
        ("{{ 'canary' in machine.labels }}", "True", Some("False")),
        ("{% if machine.labels.canary is defined %}first{% endif %}", "first", Some("")),
        ("{% for key in machine.labels %}{{ key }} {% endfor %}", "canary room/left site ", Some("")),
    ] {
        assert_eq!(made(text, &labels).unwrap(), with, "{text}");
        let error = |error: TemplateError| error.to_string();
        match (made(text, &Labels::new()).map_err(error), without) {
            (Ok(text), Some(without)) => assert_eq!(text, without),
            (Err(error), None) => assert!(error.starts_with("etc/x.tmpl, line 1: "), "{error}"),
            (other, _) => panic!("{text}: {other:?}"),
        }
    }
    let error = renderer("{{ machine.label.site }}").unwrap_err().to_string();
    assert!(error.contains("did you mean `machine.labels`?"), "{error}");
}

#[test]
fn a_filter_makes_no_more_than_a_file_may_have_whatever_a_machine_says() {
    let serial = |text: &str| Identity::from_texts("52:54:00:00:00:01".parse().unwrap(), "", text, "efi", "x86_64");
    let made = |text: &str, machine: &Identity| {
        Renderer::new(set(&[("etc/x", text)]))
            .unwrap()
            .render(machine, &Labels::new(), &Vars::new())
            .map(|mut it| it.remove(0).text)
    };
    for (text, usual) in [
        ("{{ \"a\nb\"|indent(machine.serial|int) }}", "a\n  b"),
        ("{{ \"a\nb\"|indent(width=machine.serial|int) }}", "a\n  b"),
        ("{{ [1, 2]|batch(machine.serial|int, 0)|list }}", "[[1, 2]]"),
        ("{{ [1, 2]|slice(machine.serial|int)|list }}", "[[1], [2]]"),
        ("{{ (\"%\" ~ machine.serial ~ \"s\")|format(\"x\") }}", " x"),
    ] {
        assert_eq!(made(text, &serial("2")).unwrap(), usual, "{text}");
        for large in ["1048577", "300000000", "4000000000", "9223372036854775807"] {
            let error = made(text, &serial(large)).unwrap_err().to_string();
            assert!(error.contains("would make more than the 1048576 bytes that a file may have"), "{text}: {error}");
            assert!(error.starts_with("etc/x.tmpl, line "), "{error}");
        }
    }
    for text in ["{{ vars.seat|replace('x', vars.seat) }}", "{{ range(2000)|join(vars.seat) }}"] {
        let made = |length: usize| rendered(text, &[("seat", Value::String("x".repeat(length)))]);
        assert!(made(100).is_ok(), "{text}");
        let error = made(2000).unwrap_err().to_string();
        assert!(error.contains("would make more than"), "{text}: {error}");
    }
}

#[test]
fn a_machine_gets_its_own_values_over_those_of_the_profile() {
    let text = "{{ profile.name }} {{ vars.pve_host }}:{{ vars.port }} {{ machine.mac }} [{{ machine.uuid }}]\n";
    assert_eq!(rendered(text, &[]).unwrap(), "vdi pve.example.net:8006 52:54:00:00:00:01 []\n");
    let own = [("pve_host", Value::String("other".to_owned())), ("port", Value::Integer(1))];
    assert_eq!(rendered(text, &own).unwrap(), "vdi other:1 52:54:00:00:00:01 []\n");
}

#[test]
fn lines_that_only_have_a_tag_leave_nothing_and_the_last_newline_stays() {
    let text = "a\n  {% if machine.serial %}\nserial={{ machine.serial }}\n  {% endif %}\n{% for tag in vars.tags %}\n{{ tag }};\n{% endfor %}\n<&>\n";
    let tags = [("tags", Value::List(vec!["x".to_owned(), "y".to_owned()]))];
    assert_eq!(rendered(text, &tags).unwrap(), "a\nserial=PC-7\nx;\ny;\n<&>\n");
}

#[test]
fn mistakes_are_found_before_any_machine_boots_with_their_line_and_what_was_meant() {
    for (text, said) in [
        ("a\n{{ vars.pve_hots }}", "etc/x.tmpl, line 2: there is no `vars.pve_hots`; did you mean `vars.pve_host`?"),
        ("{{ pve_host }}", "etc/x.tmpl, line 1: there is no `pve_host`; did you mean `vars.pve_host`?"),
        ("{{ machin.mac }}", "etc/x.tmpl, line 1: there is no `machin`; did you mean `machine`?"),
        ("{{ machine.asset_tag }}", "there is no `machine.asset_tag`; there are `machine.mac`, `machine.uuid`,"),
        ("{% if machine.mac == 'never' %}\n{{ vars.nonsense }}{% endif %}", "line 2: there is no `vars.nonsense`"),
        ("{{ vars.port|nonsense }}", "line 1: unknown filter"),
        ("\n{% if %}", "etc/x.tmpl, line 2: syntax error"),
        ("{{ vars['nonsense'] }}", "line 1: undefined value"),
        ("{{ vars['non' ~ 'sense'] }}", "line 1: undefined value"),
        ("{% include 'x' %}", "line 1: syntax error"),
    ] {
        let error = renderer(text).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn what_only_some_machines_cannot_have_is_no_mistake_and_fails_for_those() {
    let text = "{{ machine.serial|int + 1 }}";
    let error = rendered(text, &[]).unwrap_err().to_string();
    assert!(error.starts_with("etc/x.tmpl, line 1: "), "{error}");
    let numbered = Identity { serial: Some("41".to_owned()), ..machine() };
    assert_eq!(renderer(text).unwrap().render(&numbered, &Labels::new(), &Vars::new()).unwrap()[0].text, "42");
}

#[test]
fn a_value_every_machine_has_to_give_is_missed_by_name() {
    let mut set = set(&[("etc/x", "{{ vars.seat }}")]);
    set.vars.insert("seat".to_owned(), declared(Kind::String, None, Required::Machine));
    let renderer = Renderer::new(set).unwrap();
    renderer.check().unwrap();
    let error = renderer.render(&machine(), &Labels::new(), &Vars::new()).unwrap_err().to_string();
    assert!(error.starts_with("the variable `seat` has no value for this machine; write one into"), "{error}");
}

#[test]
fn values_a_profile_does_not_know_are_told_from_those_it_does() {
    let renderer = renderer("{{ vars.seat }}").unwrap();
    let says = |name: &str, value: Value| {
        renderer.accepts(&Vars::from([(name.to_owned(), value)])).map_err(|error| error.to_string())
    };
    assert_eq!(says("seat", Value::String("1".to_owned())), Ok(()));
    assert_eq!(
        says("set", Value::Integer(1)),
        Err("the profile has no variable `set`; did you mean `seat`?".to_owned())
    );
    assert_eq!(
        says("seat", Value::Integer(1)),
        Err("the variable `seat` is of type string, and `1` is of type integer".to_owned())
    );
}

#[test]
fn a_template_that_makes_much_of_little_is_stopped_before_it_does() {
    let again =
        |body: &str| format!("{{% set ns = namespace(x='ab') %}}{{% for i in range(40) %}}{body}{{% endfor %}}");
    let would = "would make more than the 1048576 bytes";
    for (text, said) in [
        (again("{% set ns.x = ns.x ~ ns.x %}"), would),
        (again("{% set ns.x = ns.x + ns.x %}"), would),
        (again("{% set ns.x = [ns.x, ns.x] %}"), would),
        (again("{% set ns.x = {'a': ns.x, 'b': ns.x} %}"), would),
        (again("{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}"), would),
        (again("{% set ns.x %}{% filter upper %}{{ ns.x }}{{ ns.x }}{% endfilter %}{% endset %}"), would),
        (again("{% set ns.x = [ns.x]|chain([ns.x])|list %}"), would),
        (again("{% set ns.x = '%(a)s%(a)s'|format(a=ns.x) %}"), would),
        (again("{% set ns.x = [ns.x, ns.x]|join %}"), would),
        (again("{% with y = ns.x %}{% set ns.x = y ~ y %}{% endwith %}"), would),
        ("{% set a = 'ab' %}".to_owned() + &"{% set a = a ~ a %}".repeat(40), would),
        ("{{ 'x' * 100000000 }}".to_owned(), would),
        ("{{ [0] * 100000000 }}".to_owned(), would),
        ("{{ vars.seat * 100000000 }}".to_owned(), would),
        ("{{ 'x' * 1000 * 1000 * 1000 }}".to_owned(), would),
        ("{{ ('%(a)s' * 2000)|format(a='x' * 2000) }}".to_owned(), would),
        ("{{ range(2000)|map('replace', '1', 'x' * 100000)|list }}".to_owned(), "handles more than"),
        ("{{ ([[1]] * 2000)|map('batch', 100000, 0)|list }}".to_owned(), "handles more than"),
        (again(&format!("{{% set y %}}{}{{% endset %}}", "x".repeat(100_000)).repeat(40)), "handles more than"),
        (again("{% set ns.x = [ns.x] %}"), "more than 32 deep"),
        (again("{% set ns.x = ns %}"), "a namespace cannot be put into a namespace"),
        (again("{% set ns.x = [{'a': ns}] %}"), "a namespace cannot be put into a namespace"),
        (again("{% set ns.x, ns.y = ns, 1 %}"), "a namespace cannot be put into a namespace"),
        (again("{% set own = namespace() %}").replace("40", "400"), "more than 100 namespaces"),
        (format!("{{{{ {}1 }}}}", "1~".repeat(100_000)), "more than 100 operators in one tag"),
        (format!("{{{{ 1{} }}}}", "|upper".repeat(100_000)), "more than 100 operators in one tag"),
        (format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(100_000)), "more than 100 `elif`"),
        ("{% for x in [1] %}{{ loop.cycle() }}{% endfor %}".to_owned(), "`cycle` wants at least one value"),
        ("{{ debug() }}".to_owned(), "there is no `debug`"),
    ] {
        let short: String = text.chars().take(120).collect();
        let error = rendered(&text, &[("seat", Value::String("x".to_owned()))]).expect_err(&short).to_string();
        assert!(error.contains(said), "{short}: {error}");
        assert!(error.starts_with("etc/x.tmpl, line 1: "), "{short}: {error}");
    }
}

#[test]
fn what_a_template_makes_is_what_minijinja_makes_of_it_without_the_meter() {
    for text in [
        "{{ 'a' ~ 1 ~ [1, 'x'] ~ {'k': 2} }} {{ 'a' + 'b' }}",
        "{{ 'ab' * 2 }} {{ 2 * 'ab' }} {{ [1, 2] * 2 }} {{ 2 * [1] }}",
        "{{ 6 * 7 }} {{ 1.5 * 2 }} {{ 2 * 0.5 }} {{ -2 * 3 }} {{ true * 2 }}",
        "{{ 9223372036854775807 * 9223372036854775807 }}",
        "{{ 1 + 2 * 3 - 4 // 3 % 2 ** 2 }} {{ 7 / 2 }} {{ -(1 + 2) }}",
        "{{ [1] + [2] }} {{ ([1] + [2])|length }} {{ [3, 1]|sort|join('-') }} {{ (1, 2) + (3,) }}",
        "{{ [1, 2, 3][1:] }} {{ 'abc'[::-1] }} {{ {'a': {'b': 5}}.a['b'] }} {{ [1, 2, 3][-1] }}",
        "{{ 1 < 2 < 3 and not 4 in [5] }} {{ 'x' if 1 > 2 else 'y' }} {{ 'z' if 1 > 2 }} {{ 0 or 'or' }}",
        "{{ machine.nothing is defined }} {{ machine is defined }} {{ machine.nothing|default('d') }}",
        "{% for a, b in [(1, 2), (3, 4)] if b > 2 %}{{ a }}{{ loop.cycle('x', 'y') }}{{ loop.last }}{% else %}n{% endfor %}",
        "{% for x in [{'c': [{'c': []}]}] recursive %}({{ loop(x.c) }}){% endfor %}",
        "{% for x in [{'c': [{'c': []}]}] recursive %}{% set y = loop(x.c) %}<{{ y }}>{% endfor %}",
        "{% set t = [1, 2] %}{% set x %}{% for i in t %}<{{ i }}>{% endfor %}{% endset %}{{ x|length }}",
        "{% set x | upper %}a{% endset %}{% filter replace('A', 'b') %}{{ x }}{% endfilter %}",
        "{% set ns = namespace(n=0, t='') %}{% for i in range(5) %}{% set ns.n = ns.n + i %}{% set ns.t = ns.t ~ i %}{% endfor %}{{ ns.n }} {{ ns.t }} {{ ns }}",
        "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{% set a, b = 3, 4 %}{{ a ~ b }}",
        "{{ dict(a=1)|items|list }} {{ [2, 1]|reverse|list }} {{ range(3)|map('string')|join }} {{ range(3) }}",
        "{{ [[1, 'a'], [1, 'b']]|groupby(0)|list }} {{ [{'n': 1}]|map(attribute='n')|list }} {{ [1, 1]|unique|list }}",
        "{% autoescape true %}{{ '<' }}{{ '<b>'|safe }}{% set y %}<{{ '&' }}{% endset %}{{ y }}{% endautoescape %}{{ '<' }}",
        "{{ '%s-%03d-%(a)s'|format('a', 7, a=1) }}",
        "{{ '%s-%03d'|format('a', 7) }} {{ 'a\nb'|indent(2, true) }} {{ [1, 2, 3]|batch(2, 0)|list }}",
        "{% raw %}{{ x }}{% endraw %}  {#- c #} \n {%- if true %} y\n{% elif 1 %}{% endif %}z",
        "{{ machine.nothing }}",
        "\n{{ machine.nothing.more }}",
        "\n\n{{ 1 + 'a' }}",
        "{{ 'a'|nonsense }}",
        "{{ 'a' is nonsense }}",
        "{{ nonsense() }}",
        "{% for x in 5 %}{% endfor %}",
        "{% set machine.x = 1 %}",
    ] {
        let renderer = Renderer::new(set(&[("etc/x", text)]));
        let known = Known::from(BTreeMap::from([("machine", facts(&machine(), no_label()))]));
        let plain = plain(text, &known);
        let made = renderer.and_then(|renderer| renderer.render(&machine(), &Labels::new(), &Vars::new()));
        match (made, plain) {
            (Ok(mut made), Ok(plain)) => assert_eq!(made.remove(0).text, plain, "{text}"),
            (Err(TemplateError::Template { line, .. }), Err(plain)) => {
                assert_eq!(Some(line), plain.line(), "{text}")
            }
            (made, plain) => panic!("{text}: {made:?}, {plain:?}"),
        }
    }
}

/// What minijinja itself makes of a template.
fn plain(text: &str, known: &Known) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.unwrap());
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.template_from_named_str("etc/x", text)?.render(known)
}

#[test]
fn as_many_operators_as_are_allowed_find_a_stack_that_is_large_enough() {
    for text in [
        format!("{{{{ {}1 }}}}", "1~".repeat(100)),
        format!("{{{{ {}1 }}}}", "machine.mac~".repeat(50)),
        format!("{{{{ machine{} }}}}", "|string".repeat(100)),
        format!("{{% if 0 %}}{}{{{{ {}1 }}}}{{% endif %}}", "{% elif 0 %}".repeat(100), "1~".repeat(100)),
        format!("{{{{ {}1{} }}}}", "(".repeat(70), ")".repeat(70)),
        format!("{}{}", "{% if 1 %}".repeat(100), "{% endif %}".repeat(100)),
    ] {
        rendered(&text, &[]).unwrap();
    }
}

#[test]
fn a_long_text_made_piece_by_piece_is_no_run_away() {
    let text = "{% set ns = namespace(t='') %}{% for i in range(1500) %}{% set ns.t = ns.t ~ 'server-' ~ i ~ ';' %}{% endfor %}{{ ns.t }}";
    assert!(rendered(text, &[]).unwrap().ends_with("server-1498;server-1499;"));
    let hosts = "{% for a in range(60) %}{% for b in range(100) %}10.0.{{ a }}.{{ b }} pc-{{ a * 100 + b }}\n{% endfor %}{% endfor %}";
    assert_eq!(rendered(hosts, &[]).unwrap().lines().count(), 6000);
}

#[test]
fn a_template_that_runs_away_is_stopped() {
    let long = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    assert!(rendered(long, &[]).unwrap_err().to_string().contains("it takes too long"));
    let large = "{% for a in range(9999) %}{{ vars.seat }}{% endfor %}";
    let seat = [("seat", Value::String("x".repeat(200)))];
    let error = rendered(large, &seat).unwrap_err().to_string();
    assert_eq!(error, "etc/x.tmpl makes more than 1048576 bytes; shorten what it writes");
}

#[test]
fn only_what_depends_on_no_machine_is_common() {
    for (text, is_common) in [
        ("plain", true),
        ("{{ profile.name }}", true),
        ("{% set x = profile.name %}{{ x }}", true),
        ("{{ vars.port }}", false),
        ("{% set v = machine %}{{ v.mac }}", false),
    ] {
        let (common, own) = renderer(text).unwrap().split();
        assert_eq!((common.len(), own.len()), if is_common { (1, 0) } else { (0, 1) }, "{text}");
    }
}

proptest! {
    #[test]
    fn no_template_makes_it_panic(words in proptest::collection::vec(0..WORDS.len(), 0..60)) {
        let text: String = words.into_iter().flat_map(|word| [WORDS[word], " "]).collect();
        if let Ok(renderer) = Renderer::new(set(&[("etc/x", &text)])) {
            let _ = renderer.check();
            let _ = renderer.render(&machine(), &Labels::new(), &Vars::new());
        }
    }
}

/// What templates are made of, so that many of the random ones are templates.
const WORDS: [&str; 52] = [
    "{{",
    "}}",
    "{%",
    "%}",
    "{% for x in",
    "{% endfor %}",
    "{% set",
    "{% endset %}",
    "{% if",
    "{% endif %}",
    "{% else %}",
    "x",
    "=",
    "namespace()",
    "ns",
    "ns.x",
    "range(99)",
    "machine",
    "machine.mac",
    "vars.tags",
    "'a'",
    "7",
    "-1",
    "2.5",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    ":",
    ",",
    "~",
    "+",
    "*",
    "**",
    "%",
    "|",
    "|list",
    "|join",
    "|map('upper')",
    "|sort",
    "|batch(3)",
    "|format(x)",
    "is defined",
    "recursive %}",
    "loop(",
    "loop.cycle(",
    "<",
    "in",
    "{% do",
    "a",
];
