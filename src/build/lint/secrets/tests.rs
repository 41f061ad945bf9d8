//! Every form with a text that has it and one that comes close and has it not.

use super::forms::{BINARY, Form, TEXT};
use super::*;

/// A form's name, a path, a text that has it, and one that has not. In texts `<36>` is as many letters and digits,
/// `<u16>` capitals and digits, `<h64>` hexadecimal digits: so no text here looks like a secret to anybody else.
type Case = (&'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip] // one line for each form
const TEXT_CASES: &[Case] = &[
    ("a private key", "root/id", "-----BEGIN OPENSSH PRIVATE KEY-----\n<40>\n", "grep '-----BEGIN RSA PRIVATE KEY-----' \"$1\"\n-----BEGIN PUBLIC KEY-----\n<40>\n"),
    ("a private key", "root/id", "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n<40>\n", "---- BEGIN SSH2 PUBLIC KEY ----\n<40>\n"),
    ("a private key of PuTTY", "root/id", "PuTTY-User-Key-File-3: ssh-ed25519\nPublic-Lines: 2\n<40>\nPrivate-Lines: 1\n<40>\n", "PuTTY-User-Key-File-3: ssh-ed25519\nPublic-Lines: 2\n<40>\n"),
    ("a private key of age", "root/id", "AGE-SECRET-KEY-1<u58>\n", "age1<58>\nAGE-SECRET-KEY-1XXXX\n"),
    ("a private key of WireGuard", "etc/wg0.conf", "[Interface]\nPrivateKey = <42>A=\n", "[Peer]\nPublicKey = <42>A=\nPrivateKey = \n"),
    ("a private key of WireGuard", "etc/wireguard/privatekey", "<42>A=\n", "<42>A= and more\n"),
    ("a private key of minisign or signify", "root/key", "untrusted comment: signify secret key\n<60>\n", "untrusted comment: signify public key\n<60>\n"),
    ("a static key of OpenVPN", "etc/openvpn/ta.key", "-----BEGIN OpenVPN Static key V1-----\n<h32>\n", "-----BEGIN OpenVPN Static key V1-----\n\n"),
    ("a key of DNS updates", "etc/bind/k", "key x {\n\tsecret \"<44>\";\n};", "key x {\n\tsecret \"\";\n};"),
    ("a private key as JSON", "etc/jwk", "{\"kty\": \"EC\", \"d\": \"<43>\"}", "{\"kty\": \"EC\", \"x\": \"<43>\"}"),
    ("an access key of AWS", "etc/x", "id AKIA<u16>\n", "id AKIA<u17> AKIAIOSFODNN7EXAMPLE\n"),
    ("a secret key of AWS", "etc/x", "aws_secret_access_key = <40>\n", "aws_secret_access_key = <30>\n"),
    ("a token of GitHub", "etc/x", "ghp_<36>", "ghp_<35> ghp_XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX"),
    ("a token of GitHub", "etc/x", "github_pat_<30>", "github_pat_<21>"),
    ("a token of GitLab", "etc/x", "glpat-<20>", "glpat-<19>"),
    ("a token of Slack", "etc/x", "xoxb-<30>", "xoxb-<10>"),
    ("a token of Slack", "etc/x", "xapp-1-<30>", "xapp-one-<30>"),
    ("a web hook of Slack", "etc/x", "https://hooks.slack.com/services/T0/B0/<24>", "https://hooks.slack.com/services/T0/B0/"),
    ("a web hook of Discord", "etc/x", "https://discord.com/api/webhooks/123456789012345678/<68>", "https://discord.com/api/webhooks/"),
    ("a key of Google", "etc/x", "key=AIza<35>", "key=AIza<34>"),
    ("a client secret of Google", "etc/x", "GOCSPX-<28>", "GOCSPX-<20>"),
    ("an account key of Azure", "etc/x", "AccountName=x;AccountKey=<86>==;", "AccountName=x;AccountKey=;"),
    ("a signed address of Azure", "etc/x", "https://x/y?sv=2024&sp=r&sig=<44>", "https://x/y?sv=2024&sig=<10>"),
    ("a client secret of Azure", "etc/x", "secret abc8Q~<34>", "abc8Q~<10>"),
    ("a key of Stripe", "etc/x", "sk_live_<24>", "pk_live_<24>"),
    ("a token of npm", "etc/x", "npm_<36>", "npm_<20>"),
    ("a token of npm", "root/.npmrc", "//registry/:_authToken=<20>\n", "//registry/:_authToken=${TOKEN}\n"),
    ("a token of PyPI", "etc/x", "pypi-<80>", "pypi-<20>"),
    ("a token of crates.io", "etc/x", "cio<32>", "cio<20>"),
    ("a token of Docker Hub", "etc/x", "dckr_pat_<27>", "dckr_pat_<10>"),
    ("a token of DigitalOcean", "etc/x", "dop_v1_<h64>", "dop_v1_<h30>"),
    ("a token of Hetzner", "etc/x", "HCLOUD_TOKEN=<64>", "HCLOUD_TOKEN=$TOKEN"),
    ("a token of Cloudflare", "etc/x", "CF_API_TOKEN=<40>", "CF_API_TOKEN=<10>"),
    ("a token of Proxmox", "etc/x", "root@pam!thin=<h8>-<h4>-<h4>-<h4>-<h12>", "root@pam!thin=TOKEN"),
    ("a token of Telegram", "etc/x", "123456789:AA<33>", "123456789:AA<20>"),
    ("a signed web token", "etc/x", "Bearer eyJ<17>.eyJ<17>.<43>", "eyJ<17>.eyJ<17>"),
    ("a token of Vault", "etc/x", "hvs.<24>", "hvs.<10>"),
    ("a token of Tailscale", "etc/x", "tskey-auth-<20>", "tskey-auth-<4>"),
    ("a token of Hugging Face", "etc/x", "hf_<34>", "hf_<10>"),
    ("a key of OpenAI", "etc/x", "sk-<20>T3BlbkFJ<20>", "sk-<20>"),
    ("a key of Anthropic", "etc/x", "sk-ant-<60>", "sk-ant-<10>"),
    ("a key of SendGrid", "etc/x", "SG.<22>.<43>", "SG.<22>"),
    ("a token of Grafana", "etc/x", "glsa_<32>_<h8>", "glsa_<10>"),
    ("a client key of Kubernetes", "root/config", "    client-key-data: <80>\n", "    client-key-data: \n"),
    ("a token of Kubernetes", "root/.kube/config", "    token: <30>\n", "    token: \n"),
    ("the password of a container registry", "root/.docker/config.json", "{\"auths\": {\"r\": {\"auth\": \"<24>\"}}}", "{\"auths\": {\"r\": {\"auth\": \"\"}}}"),
    ("an address with a password", "etc/x", "http://kiosk:Tr0ub4dor@proxy:3128", "http://user:password@proxy http://$u:$p@proxy ssh://git@host http://[::1]:80/a@b"),
    ("the password of a wireless network", "etc/wpa_supplicant/wpa_supplicant.conf", "network={\n\tpsk=\"some words\"\n}\n", "network={\n\t#psk=\"some words\"\n\tkey_mgmt=NONE\n}\n"),
    ("the password of a wireless network", "var/lib/iwd/net.psk", "[Security]\nPassphrase=some-word\n", "[Security]\nPassphrase=\n"),
    ("the password of a wireless network", "etc/network/interfaces", "iface wlan0 inet dhcp\n\twpa-psk some-word\n", "iface wlan0 inet dhcp\n\twpa-ssid some-word\n"),
    ("the password of a dial-up line", "etc/ppp/chap-secrets", "me * Tr0ub4dor *\n", "# client server secret address\n"),
    ("the password of a share", "etc/cifs/credentials", "username=me\npassword=Tr0ub4dor\n", "username=me\npassword=\n"),
    ("the password of a share", "etc/fstab", "//nas/x /mnt cifs user=me,password=Tr0ub4dor 0 0\n", "//nas/x /mnt cifs credentials=/run/c 0 0\n"),
    ("a password of .netrc", "root/.netrc", "machine x login me password Tr0ub4dor\n", "machine x login me\n"),
    ("a password of PostgreSQL", "root/.pgpass", "db:5432:*:me:Tr0ub4dor\n", "# host:port:db:user:password\n"),
    ("a password of MySQL", "root/.my.cnf", "[client]\npassword=Tr0ub4dor\n", "[client]\npassword=\n"),
    ("a password of a remote desktop", "home/kiosk/rds.remmina", "password=Tr0ub4dor\n", "password=\nenable-autostart=1\n"),
    ("a password of a remote desktop", "home/kiosk/rds.rdp", "password 51:b:<40>\n", "prompt for credentials:i:1\n"),
    ("a password of a remote desktop", "etc/x", "exec xfreerdp3 /v:rds /u:me /p:Tr0ub4dor\n", "exec xfreerdp3 /v:rds /u:me /p:\"$word\" /port:3389\n"),
    ("a password of a remote desktop", "etc/x", "rdesktop -u me -p Tr0ub4dor rds\n", "rdesktop -u me -p - rds\n"),
    ("a password of VNC", "etc/x", "x11vnc -display :0 -passwd Tr0ub4dor\n", "x11vnc -display :0 -passwdfile /run/p\n"),
    ("a password of SSH", "etc/x", "sshpass -p Tr0ub4dor ssh me@host\n", "sshpass -p \"$word\" ssh me@host\n"),
    ("a password of a server", "etc/x", "curl -s -u me:Tr0ub4dor https://host\n", "curl -s -u \"me:$word\" https://host:8006\n"),
    ("a password of a server", "etc/x", "wget --user=me --password=Tr0ub4dor https://host\n", "wget --password=\"$word\" https://host\n"),
    ("a password of a program", "etc/x", "export PGPASSWORD=Tr0ub4dor\n", "export PGPASSWORD=$word\n"),
    ("a password of mail", "etc/msmtprc", "password Tr0ub4dor\n", "passwordeval cat /run/p\n"),
    ("a password of rclone", "root/.config/rclone/rclone.conf", "pass = Tr0ub4dor\n", "pass = \n"),
    ("a password that is set", "etc/x", "chpasswd <<EOF\nroot:Tr0ub4dor\nEOF\n", "chpasswd -e <<EOF\nroot:$hash\nEOF\n"),
    ("a password that is set", "etc/x", "echo Tr0ub4dor | passwd --stdin root\n", "echo \"$word\" | passwd --stdin root\n"),
    ("what looks like a secret", "etc/x", "api_key = \"<32>\"\n", "api_key = \"<8>\"\napi_key_file = <32>\n"),
];

const BINARY_CASES: &[(&str, &str, &[u8], &[u8])] = &[
    (
        "a private key (PKCS #8)",
        "etc/k.der",
        b"\x30\x82\x04\xbd\x02\x01\x00\x30\x0d\x06\x09",
        b"\x30\x82\x01\x22\x30\x0d\x06\x09",
    ),
    (
        "a private key (PKCS #1)",
        "etc/k.der",
        b"\x30\x82\x04\xa4\x02\x01\x00\x02\x82\x01",
        b"\x30\x82\x01\x0a\x02\x82\x01",
    ),
    ("a private key (SEC 1)", "etc/k.der", b"\x30\x77\x02\x01\x01\x04\x20", b"\x30\x59\x30\x13\x06\x07"),
    ("a key store (PKCS #12)", "etc/k", b"\x30\x82\x0a\x10\x02\x01\x03\x30\x82", b"\x30\x82\x0a\x10\x02\x01\x02\x30"),
    ("a key store of Java", "etc/k", b"\xfe\xed\xfe\xed\x00\x00\x00\x02", b"\xca\xfe\xba\xbe\x00\x00\x00\x02"),
    ("a key store of Java", "etc/k.jks", b"anything", b""),
    ("a key table of Kerberos", "etc/k", b"\x05\x02\x00\x00\x00\x40", b"\x05\x03\x00\x00\x00\x40"),
    ("a key table of Kerberos", "etc/krb5.keytab", b"anything", b""),
    ("a private key of Dropbear", "root/id_dropbear", b"\x00\x00\x00\x0bssh-ed25519", b"ssh-ed25519 AAAA"),
    ("a private key of GnuPG", "root/.gnupg/private-keys-v1.d/x.key", b"(private-key", b""),
    ("a password store", "home/x/db.kdbx", b"\x03\xd9\xa2\x9a\x67", b"\x03\xd9\xa2"),
    ("a password of VNC", "root/.vnc/passwd", b"\x01\x02\x03\x04\x05\x06\x07\x08", b""),
    ("a password of the browser", "home/x/.mozilla/key4.db", b"SQLite", b""),
];

/// A text with its `<36>` filled in.
fn filled(text: &str) -> String {
    const DIGITS: [(char, &str); 2] = [('u', "A7B2C3D4E5F6G8H9"), ('h', "a1b2c3d4e5f60789")];
    let mut parts = text.split('<');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (inside, rest) = part.split_once('>').unwrap_or(("", part));
        let kind = DIGITS.iter().find(|(mark, _)| inside.starts_with(*mark));
        match inside.trim_start_matches(['u', 'h']).parse::<usize>() {
            Ok(count) => {
                let digits = kind.map_or("a1B2c3D4e5F6g7H8i9J0", |(_, digits)| digits);
                filled.extend(digits.chars().cycle().take(count));
                filled.push_str(rest);
            }
            Err(_) => {
                filled.push('<');
                filled.push_str(part);
            }
        }
    }
    filled
}

fn has(path: &str, bytes: &[u8], form: &Form) -> bool {
    secrets(path, bytes).iter().any(|secret| secret.rule == form.rule && secret.what == form.what)
}

#[test]
fn every_form_is_found_where_it_is_and_not_where_it_only_looks_so() {
    assert_eq!(TEXT_CASES.len(), TEXT.len());
    for (form, (what, path, yes, no)) in TEXT.iter().zip(TEXT_CASES) {
        assert_eq!(form.what, *what, "the cases are in the order of the forms");
        let (yes, no) = (filled(yes), filled(no));
        assert!(has(path, yes.as_bytes(), form), "{what} in {path}: {yes:?}: {:?}", secrets(path, yes.as_bytes()));
        let found: Vec<Secret> = secrets(path, no.as_bytes()).into_iter().collect();
        assert!(found.is_empty(), "{what} in {path}: {no:?}: {found:?}");
    }
    assert_eq!(BINARY_CASES.len(), BINARY.len());
    for (form, (what, path, yes, no)) in BINARY.iter().zip(BINARY_CASES) {
        assert_eq!(form.what, *what, "the cases are in the order of the forms");
        assert!(has(path, yes, form), "{what} in {path}");
        assert!(secrets(path, no).is_empty(), "{what} in {path}: {:?}", secrets(path, no));
    }
}

#[test]
fn a_private_key_is_known_whatever_made_it() {
    for kind in ["", "RSA ", "EC ", "DSA ", "OPENSSH ", "ENCRYPTED "] {
        let pem = format!("-----BEGIN {kind}PRIVATE KEY-----\r\n{}\r\n", filled("<64>"));
        assert!(has("etc/x", pem.as_bytes(), &TEXT[0]), "{pem}");
    }
    let heads = ["Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", "Version: GnuPG v2\n\n", "\n"];
    for (head, end) in heads.into_iter().zip(["", " BLOCK", " BLOCK"]) {
        let pem = format!("-----BEGIN PGP PRIVATE KEY{end}-----\n{head}{}\n", filled("<64>"));
        assert!(has("etc/x", pem.as_bytes(), &TEXT[0]), "{pem}");
    }
    let json =
        format!("{{\"type\": \"service_account\", \"private_key\": \"-----BEGIN PRIVATE KEY-----\\n{}", filled("<64>"));
    assert!(has("etc/x", json.as_bytes(), &TEXT[0]), "{json}");
}

#[test]
fn a_password_that_everybody_tries_is_told_from_another() {
    for (path, text, rule) in [
        ("etc/wpa_supplicant/wpa_supplicant.conf", "psk=\"12345678\"", "SEC-4"),
        ("etc/wpa_supplicant/wpa_supplicant.conf", "psk=\"correct horse\"", "SEC-3"),
        ("etc/x", "sshpass -p alpine ssh root@host", "SEC-4"),
        ("etc/x", "echo root:alpine | chpasswd", "SEC-4"),
        ("etc/x", "echo root:Tr0ub4dor | chpasswd", "SEC-5"),
        ("etc/app.conf", "password = Tr0ub4dor", "SEC-7"),
    ] {
        let found: Vec<&str> = secrets(path, text.as_bytes()).iter().map(|secret| secret.rule.id).collect();
        assert_eq!(found, [rule], "{text}");
    }
}

#[test]
fn text_that_is_no_utf_8_is_looked_at_and_what_is_no_text_only_by_how_it_begins() {
    let token = filled("ghp_<36>");
    assert_eq!(secrets("etc/x", &[b"\xe4\n", token.as_bytes()].concat()).len(), 1);
    assert!(secrets("etc/x", &[b"\x7fELF\0", token.as_bytes()].concat()).is_empty());
    assert!(secrets("etc/ssh/ssh_host_rsa_key", b"-----BEGIN RSA PRIVATE KEY-----\nMIIEabcdefgh1234").is_empty());
}
