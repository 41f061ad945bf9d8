//! The scripts (DESIGN 3.4): one decision for each boot, made when the machine's own script is written.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use tracing::{debug, warn};

use super::{Link, plain};
use crate::fleet::{MAX_ROUNDS, Visitor};
use crate::model::boot::Step;
use crate::model::hand_over;
use crate::model::identity::{Hardware, HardwareTexts, Identity, Relay};
use crate::model::mac::Mac;
use crate::model::machine::MachineId;
use crate::model::script;
use crate::serve::App;
use crate::serve::observe::{Observed, Observer as _};
use crate::serve::visit::Visit;

/// What the first script hands over; every value may be missing or garbage.
#[derive(Debug, Default)]
struct Asking<'a> {
    mac: Cow<'a, str>,
    uuid: Cow<'a, str>,
    serial: Cow<'a, str>,
    platform: Cow<'a, str>,
    arch: Cow<'a, str>,
    board: Cow<'a, str>,
    asset: Cow<'a, str>,
    maker: Cow<'a, str>,
    product: Cow<'a, str>,
    /// The addresses of all network cards, with something that is none before the first.
    cards: Cow<'a, str>,
    /// What somebody chose from the menu.
    choice: Cow<'a, str>,
    /// The bundle that the machine could not load.
    failed: Cow<'a, str>,
}

/// The most network cards of a machine that are looked at.
const MAX_CARDS: usize = 16;

impl<'a> Asking<'a> {
    /// What a request says. iPXE escapes blanks by `%20` and leaves `+` as it is, so here that is no blank, unlike in what
    /// a browser sends: a `DX1100+` keeps its name. What is said twice counts as it was said last, and what means nothing
    /// here is left out.
    fn of(query: &'a str) -> Self {
        let mut asking = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let Some(place) = asking.place(name) {
                *place = unescaped(value);
            }
        }
        asking
    }

    fn place(&mut self, name: &str) -> Option<&mut Cow<'a, str>> {
        Some(match name {
            "mac" => &mut self.mac,
            "uuid" => &mut self.uuid,
            "serial" => &mut self.serial,
            "platform" => &mut self.platform,
            "arch" => &mut self.arch,
            "board" => &mut self.board,
            "asset" => &mut self.asset,
            "maker" => &mut self.maker,
            "product" => &mut self.product,
            "cards" => &mut self.cards,
            "choice" => &mut self.choice,
            "failed" => &mut self.failed,
            _ => return None,
        })
    }

    /// The cards, the one that boots among them.
    fn cards(&self, booted: Mac) -> Vec<Mac> {
        let cards = self.cards.split(',').filter_map(|text| text.parse().ok());
        let mut cards: Vec<Mac> = cards.filter(Mac::is_unicast).take(MAX_CARDS).collect();
        if !cards.contains(&booted) {
            cards.push(booted);
        }
        cards
    }

    /// The network card it boots from, if it says that.
    fn mac(&self) -> Option<Mac> {
        self.mac.parse().ok().filter(Mac::is_unicast)
    }

    /// Who boots from this card, asks from `address`, and is behind this relay.
    fn identity(&self, mac: Mac, address: IpAddr, relay: Option<Relay>) -> Identity {
        let Self { uuid, serial, platform, arch, board, asset, maker, product, .. } = self;
        let texts = HardwareTexts { board_serial: board, asset, manufacturer: maker, product };
        let hardware = Hardware { address: Some(address), relay, ..Hardware::from_texts(texts, self.cards(mac)) };
        Identity { hardware, ..Identity::from_texts(mac, uuid, serial, platform, arch) }
    }
}

/// A question as it was understood.
struct Asked<'a> {
    /// The network card that boots.
    mac: Mac,
    visitor: Visitor,
    choice: Cow<'a, str>,
    failed: Cow<'a, str>,
    /// Whether a machine that asks in these words again asks for the same.
    is_plain: bool,
}

impl<'a> Asked<'a> {
    /// Nothing when it does not say which network card boots.
    fn of(question: &'a str, link: &Link, app: &App, now: SystemTime) -> Option<Self> {
        let address = link.peer.ip();
        debug!(peer = %link.peer, question, "script asked for");
        // At each boot a machine says the same of itself. It may have been moved behind another relay since.
        if let Some((mac, visitor)) = again(question, address, app, now)
            && app.meet(address, mac, now) == visitor.identity.hardware.relay
        {
            return Some(Self { mac, visitor, choice: "".into(), failed: "".into(), is_plain: false });
        }
        let asking = Asking::of(question);
        let mac = asking.mac()?;
        let relay = app.meet(address, mac, now);
        let visitor = app.recognise(Arc::new(asking.identity(mac, address, relay)), now);
        let Asking { choice, failed, .. } = asking;
        let is_plain = choice.is_empty() && failed.is_empty();
        Some(Self { mac, visitor, choice, failed, is_plain })
    }
}

/// Who asks in the words in which it asked before, and from where it did.
fn again(question: &str, address: IpAddr, app: &App, now: SystemTime) -> Option<(Mac, Visitor)> {
    let mac = question.split('&').find_map(|pair| pair.strip_prefix("mac="))?.parse().ok()?;
    Some((mac, app.fleet.again(&mac, question, address, now)?))
}

/// A value without its escapes. It is not longer than with them, so there is room at once.
fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.bytes().any(|byte| byte == b'%') {
        return value.into();
    }
    let mut bytes = Vec::with_capacity(value.len());
    bytes.extend(percent_decode_str(value));
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()).into()
}

/// The first script.
pub(super) fn first(app: &App, link: &Link) -> Response {
    let (peer, detail) = (Some(link.peer.ip()), "first script".into());
    app.observe(Observed { mac: None, peer, step: Step::Ipxe, detail, sent: None });
    ipxe(script::entry(app.rules().base(link)))
}

/// What iPXE 2.0 looks for beside itself before it has a network of its own (netboot.md, E4).
pub(super) fn autoexec(app: &App, link: &Link) -> Response {
    ipxe(hand_over::autoexec(app.rules().base(link)))
}

/// The same in the root, where it is looked for next.
pub(super) async fn root_autoexec(State(app): State<Arc<App>>, ConnectInfo(link): ConnectInfo<Link>) -> Response {
    autoexec(&app, &link)
}

/// The machine's own script. Whoever may not boot gets a script too, so that a person at the machine can read why; only
/// a request no iPXE makes gets an error.
pub(super) async fn own(app: &Arc<App>, link: &Link, uri: &Uri) -> Response {
    let rules = app.rules();
    let (base, now) = (rules.base(link), SystemTime::now());
    let Some(asked) = Asked::of(question(uri), link, app, now) else { return unnamed() };
    let Asked { mac, visitor, choice, failed, is_plain } = asked;
    let Visitor { identity: machine, circles, good, attempts, .. } = visitor;
    if circles {
        let why = "it boots in a circle: asked again and again and loaded nothing";
        warn!(%mac, "a machine boots in a circle and is told to rest");
        app.fleet.refused(&machine, why.to_owned(), now);
        return ipxe(script::circle(base, MAX_ROUNDS));
    }
    let (named, id) = (rules.assignments.named(mac, &machine), MachineId::from(machine.mac));
    let catalog = app.catalog().await;
    let ledger = app.ledger();
    let visit = Visit {
        base,
        rules: &rules,
        catalog: &catalog,
        ledger: &ledger,
        named,
        id: &id,
        machine: &machine,
        good: good.as_ref(),
        attempts: &attempts,
    };
    let text = match app.answer(&visit, &choice, &failed).await {
        Ok(text) => {
            app.arrived(mac);
            text
        }
        Err(why) => {
            warn!(%mac, %why, "a machine was not given a bundle");
            app.fleet.refused(&machine, why.clone(), SystemTime::now());
            script::notice(base, &why)
        }
    };
    if is_plain && mac == machine.mac {
        app.fleet.remember(&machine, question(uri), link.peer.ip());
    }
    ipxe(text)
}

/// A look at the head of the first script, with which no boot begins.
pub(super) async fn head_of_first(State(app): State<Arc<App>>, ConnectInfo(link): ConnectInfo<Link>) -> Response {
    ipxe(script::entry(app.rules().base(&link)))
}

/// The same of a machine's own: nothing is decided, so how long the script would be is not known.
pub(super) async fn head_of_own(uri: Uri) -> Response {
    let unknown = futures_util::stream::empty::<Result<Bytes, Infallible>>();
    Asking::of(question(&uri)).mac().map_or_else(unnamed, |_| ipxe(Body::from_stream(unknown)))
}

/// What the first script says of a machine.
fn question(uri: &Uri) -> &str {
    uri.query().unwrap_or_default()
}

/// It does not say which network card boots.
fn unnamed() -> Response {
    plain(StatusCode::BAD_REQUEST, "the script needs mac=, the address of the network card\n")
}

fn ipxe(script: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, script.into()).into_response()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_question_is_read_whatever_escapes_it_has() {
        let asking = Asking::of("mac=52%3A54:00:00:00:01&serial=PC%207&asset=%e4&odd&=&uuid");
        assert_eq!(asking.mac(), Some("52:54:00:00:00:01".parse().unwrap()));
        assert_eq!((&*asking.serial, &*asking.asset, &*asking.uuid), ("PC 7", "\u{fffd}", ""));
    }

    proptest! {
        #[test]
        fn no_question_is_too_odd(query in "([a-z]{0,6}=?(%[0-9a-fA-F]{0,2}|.){0,20}&?){0,12}") {
            let asking = Asking::of(&query);
            drop((asking.mac(), asking.cards(Mac([2; 6]))));
            prop_assert!(unescaped(&query).len() <= query.len(), "there is room for it at once");
        }
    }
}
