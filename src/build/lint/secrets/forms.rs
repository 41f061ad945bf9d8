//! What secrets look like: one line for each form. Where a pattern has a group, that is the secret itself, which is
//! passed over when it is a placeholder.

use super::super::rule::{CLEAR_PASSWORD, LIKELY_PASSWORD, NETWORK_PASSWORD, PRIVATE_KEY, Rule, TOKEN};

/// A kind of secret.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    pub(super) rule: Rule,
    /// What it is, after "has".
    pub(super) what: &'static str,
    /// A regular expression of the paths it is looked for in; empty for all.
    pub(super) places: &'static str,
    /// A regular expression of bytes.
    pub(super) pattern: &'static str,
}

const fn form(rule: Rule, what: &'static str, places: &'static str, pattern: &'static str) -> Form {
    Form { rule, what, places, pattern }
}

/// The forms of files that are text.
#[rustfmt::skip] // one line for each form
pub(super) const TEXT: &[Form] = &[
    // A program that looks for such keys has the words, but no key after them.
    form(PRIVATE_KEY, "a private key", "", r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----[ \t]*(?:\n|\r|\\n|\\r)(?:\s|\\n|\\r)*(?:[A-Za-z-]+: [^\n]*\s+)*[A-Za-z0-9+/]{4}"),
    form(PRIVATE_KEY, "a private key", "", r"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\s"),
    form(PRIVATE_KEY, "a private key of PuTTY", "", r"(?s)PuTTY-User-Key-File-\d: .*?Private-Lines: \d"),
    form(PRIVATE_KEY, "a private key of age", "", r"\bAGE-SECRET-KEY-1([0-9A-Z]{58})\b"),
    form(PRIVATE_KEY, "a private key of WireGuard", "", r"(?mi)^\s*(?:PrivateKey|PresharedKey)[ \t]*=[ \t]*([a-z0-9+/]{42}[AEIMQUYcgkosw048]=)"),
    form(PRIVATE_KEY, "a private key of WireGuard", r"^etc/wireguard/.*(?:priv|psk|\.key$)", r"\A\s*([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)\s*\z"),
    form(PRIVATE_KEY, "a private key of minisign or signify", "", r"untrusted comment: [^\n]*secret key[^\n]*\n[A-Za-z0-9+/]{40}"),
    form(PRIVATE_KEY, "a static key of OpenVPN", "", r"-----BEGIN OpenVPN Static key V1-----\s*[0-9a-f]{32}"),
    form(PRIVATE_KEY, "a key of DNS updates", "", r#"(?m)^\s*secret\s+"([A-Za-z0-9+/]{22,}={0,2})"\s*;"#),
    form(PRIVATE_KEY, "a private key as JSON", "", r#"(?s)"kty"\s*:.*?"d"\s*:[ \t]*"([A-Za-z0-9_-]{40,})""#),
    form(TOKEN, "an access key of AWS", "", r"\b((?:AKIA|ASIA)[A-Z0-9]{16})\b"),
    form(TOKEN, "a secret key of AWS", "", r#"(?i)\baws_?(?:secret_?)?(?:access_?)?key["']?[ \t]*[=:][ \t]*["']?([a-z0-9/+]{40})\b"#),
    form(TOKEN, "a token of GitHub", "", r"\bgh[pousr]_([A-Za-z0-9]{36,})\b"),
    form(TOKEN, "a token of GitHub", "", r"\bgithub_pat_([A-Za-z0-9_]{22,})\b"),
    form(TOKEN, "a token of GitLab", "", r"\bgl(?:pat|dt|rt|ptt|cbt|ft|soat|agent|imt|oas)-([A-Za-z0-9_-]{20,})"),
    form(TOKEN, "a token of Slack", "", r"\bxox[abeoprs]-([A-Za-z0-9-]{20,})"),
    form(TOKEN, "a token of Slack", "", r"\bxapp-\d-([A-Za-z0-9-]{20,})"),
    form(TOKEN, "a web hook of Slack", "", r"hooks\.slack\.com/services/T\w+/B\w+/(\w{20,})"),
    form(TOKEN, "a web hook of Discord", "", r"discord(?:app)?\.com/api/webhooks/\d{15,}/([\w-]{60,})"),
    form(TOKEN, "a key of Google", "", r"\bAIza([A-Za-z0-9_-]{35})\b"),
    form(TOKEN, "a client secret of Google", "", r"\bGOCSPX-([A-Za-z0-9_-]{28})"),
    form(TOKEN, "an account key of Azure", "", r"\bAccountKey=([A-Za-z0-9+/]{86}==)"),
    form(TOKEN, "a signed address of Azure", "", r"[?&]s[ipt]=[^\s&]+&(?:[^\s]*&)?sig=([A-Za-z0-9%]{43,})"),
    form(TOKEN, "a client secret of Azure", "", r"(?:^|[^\w~.-])([A-Za-z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{31,34})(?:$|[^\w~.-])"),
    form(TOKEN, "a key of Stripe", "", r"\b[rs]k_(?:live|test)_([A-Za-z0-9]{20,})\b"),
    form(TOKEN, "a token of npm", "", r"\bnpm_([A-Za-z0-9]{36})\b"),
    form(TOKEN, "a token of npm", r"(?:^|/)\.?npmrc$", r"(?m)_auth(?:Token)?[ \t]*=[ \t]*(\S{8,})"),
    form(TOKEN, "a token of PyPI", "", r"\bpypi-([A-Za-z0-9_-]{60,})"),
    form(TOKEN, "a token of crates.io", "", r"\bcio([A-Za-z0-9]{32})\b"),
    form(TOKEN, "a token of Docker Hub", "", r"\bdckr_(?:pat|oat)_([A-Za-z0-9_-]{27,})"),
    form(TOKEN, "a token of DigitalOcean", "", r"\bdo[opr]_v1_([0-9a-f]{64})\b"),
    form(TOKEN, "a token of Hetzner", "", r#"(?i)\b(?:hcloud|hetzner)[a-z0-9_-]*(?:token|key)["']?[ \t]*[=:][ \t]*["']?([a-z0-9]{64})\b"#),
    form(TOKEN, "a token of Cloudflare", "", r#"(?i)\b(?:cf|cloudflare)[a-z0-9_-]*(?:token|key)["']?[ \t]*[=:][ \t]*["']?([a-z0-9_-]{37,40})\b"#),
    form(TOKEN, "a token of Proxmox", "", r"[\w.-]+@[\w.-]+![\w.-]+[=:]([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\b"),
    form(TOKEN, "a token of Telegram", "", r"\b\d{8,10}:(AA[A-Za-z0-9_-]{33})\b"),
    form(TOKEN, "a signed web token", "", r"\b(eyJ[A-Za-z0-9_-]{13,}\.eyJ[A-Za-z0-9_-]{13,}\.[A-Za-z0-9_-]{32,})"),
    form(TOKEN, "a token of Vault", "", r"\bhv[bsr]\.([A-Za-z0-9_-]{24,})"),
    form(TOKEN, "a token of Tailscale", "", r"\btskey-[a-z]+-([A-Za-z0-9-]{16,})"),
    form(TOKEN, "a token of Hugging Face", "", r"\bhf_([A-Za-z0-9]{30,})\b"),
    form(TOKEN, "a key of OpenAI", "", r"\bsk-(?:proj-|svcacct-)?([A-Za-z0-9_-]{10,}T3BlbkFJ[A-Za-z0-9_-]{10,})"),
    form(TOKEN, "a key of Anthropic", "", r"\bsk-ant-([A-Za-z0-9_-]{40,})"),
    form(TOKEN, "a key of SendGrid", "", r"\bSG\.([A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})\b"),
    form(TOKEN, "a token of Grafana", "", r"\bgl(?:sa|c)_([A-Za-z0-9+/=_]{32,})"),
    form(TOKEN, "a client key of Kubernetes", "", r"(?m)^\s*client-key-data:[ \t]*([A-Za-z0-9+/=]{20,})"),
    form(TOKEN, "a token of Kubernetes", r"kube|k3s|(?:^|/)admin\.conf$", r#"(?m)^\s*token:[ \t]*["']?([A-Za-z0-9_.:-]{16,})"#),
    form(TOKEN, "the password of a container registry", "", r#""auth"\s*:[ \t]*"([A-Za-z0-9+/]{8,}={0,2})""#),
    // In the order of an address: who, password, host.
    form(TOKEN, "an address with a password", "", r#"\b[a-z][a-z0-9+.-]*://[^\s/:@"'<>(){}$]+:([^\s/:@"'<>(){}$]+)@[A-Za-z0-9\[]"#),
    form(NETWORK_PASSWORD, "the password of a wireless network", r"^etc/wpa_supplicant[./]|^etc/NetworkManager/|^etc/hostapd", r#"(?mi)^\s*(?:psk|sae_password|wep[_-]key\d|wpa_passphrase|wpa_psk|password|leap-password)[ \t]*=[ \t]*"?([^"\s][^"\n]*)"#),
    form(NETWORK_PASSWORD, "the password of a wireless network", r"^var/lib/iwd/", r"(?m)^\s*(?:Passphrase|PreSharedKey|EAP-Password)[ \t]*=[ \t]*(\S+)"),
    form(NETWORK_PASSWORD, "the password of a wireless network", r"^etc/network/", r"(?m)^\s*(?:wpa-psk|wpa-password|wireless-key)[ \t]+(\S+)"),
    form(CLEAR_PASSWORD, "the password of a dial-up line", r"^etc/ppp/(?:chap|pap|srp)-secrets", r#"(?m)^\s*(?:"[^"\n]*"|[^#\s"]\S*)[ \t]+\S+[ \t]+"?([^\s"]+)"#),
    form(CLEAR_PASSWORD, "the password of a share", r"(?i)cred|smb|cifs|nsswitch_", r"(?mi)^\s*password[ \t]*=[ \t]*(\S+)"),
    form(CLEAR_PASSWORD, "the password of a share", r"^etc/(?:fstab|auto[./_])", r"(?m)^[^#\n]*[\s,](?:password|pass)=([^\s,]+)"),
    form(CLEAR_PASSWORD, "a password of .netrc", r"(?:^|/)[._]?netrc$", r"(?m)^[^#\n]*\bpassword\s+(\S+)"),
    form(CLEAR_PASSWORD, "a password of PostgreSQL", r"(?:^|/)\.pgpass$", r"(?m)^[^#:\n]+:[^:\n]*:[^:\n]*:[^:\n]*:(\S+)"),
    form(CLEAR_PASSWORD, "a password of MySQL", r"(?:^|/)\.?my(?:login)?\.cnf", r#"(?mi)^\s*password[ \t]*=[ \t]*["']?([^\s"']+)"#),
    form(CLEAR_PASSWORD, "a password of a remote desktop", r"(?i)\.(?:remmina|vv|nxs|x2go)$|(?:^|/)vdi", r"(?mi)^\s*password[ \t]*=[ \t]*(\S+)"),
    form(CLEAR_PASSWORD, "a password of a remote desktop", r"(?i)\.rdp$", r"(?mi)^\s*password \d*:?[bs]:(\S+)"),
    form(CLEAR_PASSWORD, "a password of a remote desktop", "", r#"(?m)^[^#\n]*freerdp[^\n]*\s/p:["']?([^\s"'$]+)"#),
    form(CLEAR_PASSWORD, "a password of a remote desktop", "", r#"(?m)^[^#\n]*\brdesktop\b[^\n]*\s-p\s+["']?([^\s"'$-][^\s"'$]*)"#),
    form(CLEAR_PASSWORD, "a password of VNC", "", r#"(?m)^[^#\n]*\bx11vnc\b[^\n]*\s-passwd[ \t]+["']?([^\s"'$]+)"#),
    form(CLEAR_PASSWORD, "a password of SSH", "", r#"(?m)^[^#\n]*\bsshpass\s+-p\s*["']?([^\s"'$]+)"#),
    form(CLEAR_PASSWORD, "a password of a server", "", r#"(?m)^[^#\n]*\bcurl\b[^\n|;]*\s(?:-u|--user)[ =]?["']?[^\s:"'$]+:([^\s"'$]+)"#),
    form(CLEAR_PASSWORD, "a password of a server", "", r#"(?m)^[^#\n]*\bwget\b[^\n|;]*\s--(?:http-|ftp-|proxy-)?password[ =]["']?([^\s"'$]+)"#),
    form(CLEAR_PASSWORD, "a password of a program", "", r#"\b(?:PGPASSWORD|MYSQL_PWD|RESTIC_PASSWORD|BORG_PASSPHRASE|SSHPASS|VNC_PASSWORD|RCLONE_CONFIG_PASS)=["']?([^\s"'$;]+)"#),
    form(CLEAR_PASSWORD, "a password of mail", r"msmtprc|ssmtp|fetchmail", r#"(?mi)^[^#\n]*\b(?:password|AuthPass)(?:[ \t]*=[ \t]*|[ \t]+)["']?([^\s"']+)"#),
    form(CLEAR_PASSWORD, "a password of rclone", r"rclone", r"(?m)^\s*pass(?:word)?[ \t]*=[ \t]*(\S+)"),
    form(CLEAR_PASSWORD, "a password that is set", "", r"\bchpasswd\b[^\n]*<<-?\s*\S+\s*\n\s*[\w.-]+:([^\s$]+)"),
    form(CLEAR_PASSWORD, "a password that is set", "", r#"(?m)^[^#\n]*\b(?:echo|printf)\s+(?:-\w+\s+)*["']?([^\s"'$%`|]+)[^|\n]*\|[^\n]*\bpasswd\s+(?:--stdin\s+)?[a-z]"#),
    form(LIKELY_PASSWORD, "what looks like a secret", "", r#"(?mi)^\s*["']?(?:[\w-]+[._-])?(?:api[_-]?key|secret[_-]?key|client[_-]?secret|access[_-]?token|auth[_-]?token)["']?[ \t]*[=:][ \t]*["']?([a-z0-9+/=_.-]{16,})["']?\s*[,;]?\s*$"#),
];

/// The forms of files that are not text, by how they begin.
#[rustfmt::skip]
pub(super) const BINARY: &[Form] = &[
    form(PRIVATE_KEY, "a private key (PKCS #8)", "", r"(?s)\A\x30[\x30-\x84].{0,4}?\x02\x01\x00\x30.{1,20}\x06"),
    form(PRIVATE_KEY, "a private key (PKCS #1)", "", r"(?s)\A\x30[\x81\x82].{1,2}\x02\x01\x00\x02[\x40-\x82]"),
    form(PRIVATE_KEY, "a private key (SEC 1)", "", r"(?s)\A\x30[\x40-\x82].{0,2}?\x02\x01\x01\x04[\x18-\x42]"),
    form(PRIVATE_KEY, "a key store (PKCS #12)", "", r"(?s)\A\x30[\x80-\x84].{0,4}?\x02\x01\x03\x30"),
    form(PRIVATE_KEY, "a key store of Java", "", r"(?s)\A(?:\xfe\xed\xfe\xed|\xce\xce\xce\xce)\x00\x00\x00"),
    form(PRIVATE_KEY, "a key store of Java", r"(?i)\.(?:jks|jceks|bks|keystore)$", r"(?s)\A."),
    form(PRIVATE_KEY, "a key table of Kerberos", "", r"(?s)\A\x05[\x01\x02]\x00\x00[\x00-\x02]"),
    form(PRIVATE_KEY, "a key table of Kerberos", r"(?i)\.keytab$|(?:^|/)krb5cc", r"(?s)\A."),
    form(PRIVATE_KEY, "a private key of Dropbear", r"(?:^|/)id_dropbear", r"(?s)\A\x00\x00\x00[\x07-\x13](?:ssh|ecdsa)-"),
    form(PRIVATE_KEY, "a private key of GnuPG", r"(?:^|/)(?:private-keys-v1\.d/|secring\.)", r"(?s)\A."),
    form(PRIVATE_KEY, "a password store", "", r"(?s)\A(?:\x03\xd9\xa2\x9a|GnomeKeyring\n)"),
    form(CLEAR_PASSWORD, "a password of VNC", r"(?:^|/)(?:\.?vnc/passwd|\.?vncpasswd|x11vnc\.pass\w*|kasmpasswd)$", r"(?s)\A.{8}"),
    form(CLEAR_PASSWORD, "a password of the browser", r"(?:^|/)(?:key[34]\.db|logins\.json|Login Data|cookies\.sqlite)$", r"(?s)\A."),
];
