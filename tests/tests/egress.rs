//! Attempts to get out: each is refused before a packet leaves, and each gets there once the one key allows it that the
//! refusal is about. The targets exist, in a network namespace of the test's own; listeners count.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use longshore_tests::dns;
use longshore_tests::fixtures::Fixture;
use longshore_tests::listener::{Answer, Listener};
use longshore_tests::namespace::{Files, inside};
use longshore_tests::program::{Ran, finish, longshore};
use longshore_tests::scratch::{Scratch, raw};
use sha2::{Digest as _, Sha256};

/// One attempt. `{port}` is that of the listener that nobody must reach, `{n}` a number of the run's own.
struct Row {
    /// What it tries.
    name: &'static str,
    way: Way,
    /// What the policy says besides, in both runs.
    base: &'static [Key],
    /// Exit code, error code, and words of the refusal.
    refused: (i32, &'static str, &'static str),
    /// What lets it through.
    opened_by: Opened,
}

/// How the program learns of the target.
#[derive(Clone, Copy)]
enum Way {
    /// It is SOURCE.
    Source(&'static str),
    /// `probe` is asked for it.
    Probe(&'static str),
    /// `doctor` is asked about it.
    Doctor(&'static str),
    /// SOURCE redirects there.
    Redirect(&'static str),
    /// SOURCE redirects to a public host, and that there.
    Chain(&'static str),
    /// The same, read by a component from a stranger, which follows by itself.
    Guest(&'static str),
    /// It is the file of checksums.
    Sums(&'static str),
    /// The file of checksums redirects there.
    SumsRedirect(&'static str),
    /// It is the registry, `host:port`.
    Registry(&'static str),
    /// The registry opens its upload session there.
    Upload(&'static str),
    /// The registry has the upload go on there, after its first request.
    Patched(&'static str),
    /// The registry's token server is there.
    Realm(&'static str),
    /// The registry redirects there from a manifest.
    Manifest(&'static str),
    /// The registry redirects there from a blob.
    Blob(&'static str),
    /// It is the token server of the registry that SOURCE is in.
    DiskRealm(&'static str),
    /// The registry that SOURCE is in redirects there from the layer.
    DiskBlob(&'static str),
    /// A variable says so: its value, and SOURCE.
    Variable(&'static str, &'static str, &'static str),
}

/// Section, key and value of a policy.
type Key = (&'static str, &'static str, &'static str);

#[derive(Clone, Copy)]
enum Opened {
    /// The side's `addresses` list this one, and those of the peers on the way.
    Address(&'static str),
    /// `egress.plain-http` lists this host too.
    PlainHttp(&'static str),
    /// This, in the place of what the base says, if it says something.
    Key(Key),
}
use Opened::{Address, PlainHttp};

/// A public host on the way, and one that hands everybody on.
const PUBLIC: &str = "8.8.4.4";
const FICKLE: &str = "8.8.8.8";
/// A public address that nobody has.
const ABSENT: &str = "8.8.8.9";

const LINK_LOCAL: (i32, &str, &str) = (13, "egress-denied", "it is link-local, where metadata services live");
const METADATA: (i32, &str, &str) = (13, "egress-denied", "it is a metadata service");
const NOT_PUBLIC: (i32, &str, &str) = (13, "egress-denied", "it is not public and was named by a peer");
const PLAIN: (i32, &str, &str) = (13, "plain-http-denied", "plain HTTP to ");
const NOT_LISTED: (i32, &str, &str) = (13, "egress-denied", "does not list it");
const DENIED: (i32, &str, &str) = (13, "egress-denied", "denies `");

const fn row(name: &'static str, way: Way, refused: (i32, &'static str, &'static str), opened_by: Opened) -> Row {
    Row { name, way, base: &[], refused, opened_by }
}

const fn under(base: &'static [Key], row: Row) -> Row {
    Row { base, ..row }
}

/// Metadata services as users may name them: every cloud's, in every spelling.
const NAMED: &[Row] = &[
    row(
        "AWS, Google, Azure",
        Way::Source("https://169.254.169.254:{port}/latest/"),
        LINK_LOCAL,
        Address("169.254.169.254"),
    ),
    row("credentials of ECS", Way::Source("https://169.254.170.2:{port}/v2/"), LINK_LOCAL, Address("169.254.170.2")),
    row("credentials of EKS", Way::Source("https://169.254.170.23:{port}/v1/"), LINK_LOCAL, Address("169.254.170.23")),
    row("Tencent Cloud", Way::Source("https://169.254.0.23:{port}/x"), LINK_LOCAL, Address("169.254.0.23")),
    row("Scaleway", Way::Source("https://169.254.42.42:{port}/conf"), LINK_LOCAL, Address("169.254.42.42")),
    row("Alibaba Cloud", Way::Source("https://100.100.100.200:{port}/x"), METADATA, Address("100.100.100.200")),
    row("Oracle Cloud", Way::Source("https://192.0.0.192:{port}/x"), METADATA, Address("192.0.0.192")),
    row("Azure's wire server", Way::Source("https://168.63.129.16:{port}/x"), METADATA, Address("168.63.129.16")),
    row("AWS over IPv6", Way::Source("https://[fd00:ec2::254]:{port}/x"), METADATA, Address("fd00:ec2::254")),
    row("EKS over IPv6", Way::Source("https://[fd00:ec2::23]:{port}/x"), METADATA, Address("fd00:ec2::23")),
    row("Google over IPv6", Way::Source("https://[fd20:ce::254]:{port}/x"), METADATA, Address("fd20:ce::254")),
    row(
        "Oracle over IPv6",
        Way::Source("https://[fd00:c1::a9fe:a9fe]:{port}/x"),
        METADATA,
        Address("fd00:c1::a9fe:a9fe"),
    ),
    row("Scaleway over IPv6", Way::Source("https://[fd00:42::42]:{port}/x"), METADATA, Address("fd00:42::42")),
    row("mapped", Way::Source("https://[::ffff:169.254.169.254]:{port}/x"), LINK_LOCAL, Address("169.254.169.254")),
    row(
        "mapped, in hex",
        Way::Source("https://[0:0:0:0:0:FFFF:A9FE:A9FE]:{port}/x"),
        LINK_LOCAL,
        Address("169.254.169.254"),
    ),
    row("compatible", Way::Source("https://[::169.254.169.254]:{port}/x"), LINK_LOCAL, Address("169.254.169.254")),
    row("translated", Way::Source("https://[::ffff:0:a9fe:a9fe]:{port}/x"), LINK_LOCAL, Address("169.254.169.254")),
    row("NAT64", Way::Source("https://[64:ff9b::a9fe:a9fe]:{port}/x"), LINK_LOCAL, Address("169.254.169.254")),
    row(
        "local NAT64",
        Way::Source("https://[64:ff9b:1::a9fe:a9fe]:{port}/x"),
        LINK_LOCAL,
        Address("64:ff9b:1::a9fe:a9fe"),
    ),
    row(
        "local NAT64 with a short prefix",
        Way::Redirect("https://[64:ff9b:1:a9fe:a9:fe00:808:808]:{port}/x"),
        LINK_LOCAL,
        Address("64:ff9b:1:a9fe:a9:fe00:808:808"),
    ),
    row("6to4", Way::Source("https://[2002:a9fe:a9fe::1]:{port}/x"), LINK_LOCAL, Address("169.254.169.254")),
    row("decimal", Way::Source("https://2852039166:{port}/x"), LINK_LOCAL, Address("169.254.169.254")),
    row("octal", Way::Source("https://0251.0376.0251.0376:{port}/x"), LINK_LOCAL, Address("169.254.169.254")),
    row("hexadecimal", Way::Source("https://0xa9fea9fe:{port}/x"), LINK_LOCAL, Address("169.254.169.254")),
    row("short", Way::Source("https://169.254.43518:{port}/x"), LINK_LOCAL, Address("169.254.169.254")),
    row("mixed bases", Way::Source("https://0xA9.254.0251.254:{port}/x"), LINK_LOCAL, Address("169.254.169.254")),
    row("a final dot", Way::Source("https://169.254.169.254.:{port}/x"), LINK_LOCAL, Address("169.254.169.254")),
    row(
        "full-width digits",
        Way::Source("https://１６９.254.169.254:{port}/x"),
        LINK_LOCAL,
        Address("169.254.169.254"),
    ),
    row(
        "encoded digits",
        Way::Source("https://%31%36%39.254.169.254:{port}/x"),
        LINK_LOCAL,
        Address("169.254.169.254"),
    ),
    row("full-width dots", Way::Source("https://169。254。169。254:{port}/x"), LINK_LOCAL, Address("169.254.169.254")),
    row(
        "a host before the at sign",
        Way::Source("https://images.example:443@169.254.169.254:{port}/x"),
        LINK_LOCAL,
        Address("169.254.169.254"),
    ),
    row(
        "a backslash before the path",
        Way::Source("https://169.254.169.254:{port}\\@images.example/x"),
        LINK_LOCAL,
        Address("169.254.169.254"),
    ),
    row("a name", Way::Source("https://meta.test:{port}/x"), LINK_LOCAL, Address("169.254.169.254")),
    row(
        "a name in upper case, with a final dot",
        Way::Source("https://META.Test.:{port}/x"),
        LINK_LOCAL,
        Address("169.254.169.254"),
    ),
    row(
        "an internationalised name",
        Way::Source("https://BÜCHER.test:{port}/x"),
        LINK_LOCAL,
        Address("169.254.169.254"),
    ),
    row("a name in /etc/hosts", Way::Source("https://hosts.test:{port}/x"), LINK_LOCAL, Address("169.254.169.254")),
    row(
        "a name with a mapped address",
        Way::Source("https://mapped.test:{port}/x"),
        LINK_LOCAL,
        Address("169.254.169.254"),
    ),
    row("a name with an IPv6 address", Way::Source("https://meta6.test:{port}/x"), METADATA, Address("fd00:ec2::254")),
    row("the probe", Way::Probe("https://169.254.169.254:{port}/x"), LINK_LOCAL, Address("169.254.169.254")),
    row(
        "the doctor, of a source",
        Way::Doctor("https://169.254.169.254:{port}/x"),
        LINK_LOCAL,
        Address("169.254.169.254"),
    ),
    row(
        "the doctor, of a registry",
        Way::Doctor("docker://meta.test:{port}/vm"),
        LINK_LOCAL,
        Address("169.254.169.254"),
    ),
    row(
        "the file of checksums",
        Way::Sums("https://169.254.169.254:{port}/sums"),
        LINK_LOCAL,
        Address("169.254.169.254"),
    ),
    row("the registry", Way::Registry("169.254.169.254:{port}"), LINK_LOCAL, Address("169.254.169.254")),
    row("the registry over IPv6", Way::Registry("[fd00:ec2::254]:{port}"), METADATA, Address("fd00:ec2::254")),
    row("the registry by a name", Way::Registry("meta.test:{port}"), LINK_LOCAL, Address("169.254.169.254")),
    row("plain HTTP to a host that was typed", Way::Source("http://10.0.0.1:{port}/x"), PLAIN, PlainHttp("10.0.0.1")),
];

/// Where a source's redirects lead: everything that is not public.
const REDIRECTED: &[Row] = &[
    row("10/8", Way::Redirect("https://10.0.0.1:{port}/x"), NOT_PUBLIC, Address("10.0.0.1")),
    row("172.16/12", Way::Redirect("https://172.16.0.1:{port}/x"), NOT_PUBLIC, Address("172.16.0.1")),
    row("192.168/16", Way::Redirect("https://192.168.0.1:{port}/x"), NOT_PUBLIC, Address("192.168.0.1")),
    row("loopback", Way::Redirect("https://127.0.0.1:{port}/x"), NOT_PUBLIC, Address("127.0.0.1")),
    row("any loopback", Way::Redirect("https://127.9.8.7:{port}/x"), NOT_PUBLIC, Address("127.9.8.7")),
    row("loopback, short", Way::Redirect("https://127.1:{port}/x"), NOT_PUBLIC, Address("127.0.0.1")),
    row("loopback, decimal", Way::Redirect("https://2130706433:{port}/x"), NOT_PUBLIC, Address("127.0.0.1")),
    row("loopback, octal", Way::Redirect("https://0177.0.0.1:{port}/x"), NOT_PUBLIC, Address("127.0.0.1")),
    row("loopback, hexadecimal", Way::Redirect("https://0x7F.1:{port}/x"), NOT_PUBLIC, Address("127.0.0.1")),
    row("loopback over IPv6", Way::Redirect("https://[::1]:{port}/x"), NOT_PUBLIC, Address("::1")),
    row("loopback, mapped", Way::Redirect("https://[::ffff:7f00:1]:{port}/x"), NOT_PUBLIC, Address("127.0.0.1")),
    row("localhost", Way::Redirect("https://localhost:{port}/x"), NOT_PUBLIC, Address("127.0.0.1")),
    row("below localhost", Way::Redirect("https://A.LocalHost:{port}/x"), NOT_PUBLIC, Address("127.0.0.1")),
    row("carrier-grade NAT", Way::Redirect("https://100.64.0.1:{port}/x"), NOT_PUBLIC, Address("100.64.0.1")),
    row("benchmarks", Way::Redirect("https://198.18.0.1:{port}/x"), NOT_PUBLIC, Address("198.18.0.1")),
    row("documentation 1", Way::Redirect("https://192.0.2.1:{port}/x"), NOT_PUBLIC, Address("192.0.2.1")),
    row("documentation 2", Way::Redirect("https://198.51.100.1:{port}/x"), NOT_PUBLIC, Address("198.51.100.1")),
    row("documentation 3", Way::Redirect("https://203.0.113.1:{port}/x"), NOT_PUBLIC, Address("203.0.113.1")),
    row("documentation over IPv6", Way::Redirect("https://[2001:db8::1]:{port}/x"), NOT_PUBLIC, Address("2001:db8::1")),
    row("newer documentation", Way::Redirect("https://[3fff::1]:{port}/x"), NOT_PUBLIC, Address("3fff::1")),
    row("reserved", Way::Redirect("https://240.0.0.1:{port}/x"), NOT_PUBLIC, Address("240.0.0.1")),
    row("unique local", Way::Redirect("https://[fd12::1]:{port}/x"), NOT_PUBLIC, Address("fd12::1")),
    row("site-local", Way::Redirect("https://[fec0::1]:{port}/x"), NOT_PUBLIC, Address("fec0::1")),
    row("Teredo", Way::Redirect("https://[2001::1]:{port}/x"), NOT_PUBLIC, Address("2001::1")),
    row("segment routing", Way::Redirect("https://[5f00::1]:{port}/x"), NOT_PUBLIC, Address("5f00::1")),
    row("private, mapped", Way::Redirect("https://[::ffff:10.0.0.1]:{port}/x"), NOT_PUBLIC, Address("10.0.0.1")),
    row("private, NAT64", Way::Redirect("https://[64:ff9b::10.0.0.1]:{port}/x"), NOT_PUBLIC, Address("10.0.0.1")),
    row("private, 6to4", Way::Redirect("https://[2002:a00:1::1]:{port}/x"), NOT_PUBLIC, Address("10.0.0.1")),
    row("link-local", Way::Redirect("https://169.254.169.254:{port}/x"), LINK_LOCAL, Address("169.254.169.254")),
    row("metadata", Way::Redirect("https://[fd00:ec2::254]:{port}/x"), METADATA, Address("fd00:ec2::254")),
    row("a private name", Way::Redirect("https://private.test:{port}/x"), NOT_PUBLIC, Address("10.0.0.1")),
    row("a private name over IPv6", Way::Redirect("https://private6.test:{port}/x"), NOT_PUBLIC, Address("fd12::1")),
    row(
        "a name in /etc/hosts that is private",
        Way::Redirect("https://inside.test:{port}/x"),
        NOT_PUBLIC,
        Address("10.0.0.1"),
    ),
    // The public one does not answer: the other is not tried in its place.
    row(
        "a name half of which is private",
        Way::Redirect("https://half.test:{port}/x"),
        (10, "source-unreachable", "cannot be connected to at 8.8.8.9"),
        Address("10.0.0.1"),
    ),
    // Public at the first question, private at the second.
    row("a name that changes", Way::Redirect("http://rebind-{n}.test:{port}/x"), NOT_PUBLIC, Address("10.0.0.1")),
    row("a tab in the name", Way::Redirect("https://10.0.\t0.1:{port}/x"), NOT_PUBLIC, Address("10.0.0.1")),
    row("without a scheme", Way::Redirect("//8.8.8.8:{port}/x"), PLAIN, PlainHttp("8.8.8.8")),
    row("the second redirect", Way::Chain("https://10.0.0.1:{port}/x"), NOT_PUBLIC, Address("10.0.0.1")),
    row("a stranger's component", Way::Guest("https://10.0.0.1:{port}/x"), NOT_PUBLIC, Address("10.0.0.1")),
    row(
        "a stranger's component, metadata",
        Way::Guest("https://169.254.169.254:{port}/x"),
        LINK_LOCAL,
        Address("169.254.169.254"),
    ),
    row("the file of checksums", Way::SumsRedirect("https://10.0.0.1:{port}/sums"), NOT_PUBLIC, Address("10.0.0.1")),
    row("down to plain HTTP", Way::Redirect("http://8.8.8.8:{port}/x"), PLAIN, PlainHttp("8.8.8.8")),
];

/// Public targets that the policy closes.
const CLOSED: &[Row] = &[
    under(
        &[("egress.source", "hosts", "[\"127.0.0.1\"]")],
        row(
            "a host that is not listed",
            Way::Redirect("https://8.8.8.8:{port}/x"),
            NOT_LISTED,
            Opened::Key(("egress.source", "hosts", "[\"127.0.0.1\", \"8.8.8.8\"]")),
        ),
    ),
    under(
        &[("egress.source", "hosts", "[\"127.0.0.1\", \"8.8.8.8:443\"]")],
        row(
            "another port of a host that is",
            Way::Redirect("https://8.8.8.8:{port}/x"),
            NOT_LISTED,
            Opened::Key(("egress.source", "hosts", "[\"127.0.0.1\", \"8.8.8.8\"]")),
        ),
    ),
    under(
        &[("egress.source", "hosts", "[\"127.0.0.1\", \"*.good.test\"]")],
        row(
            "a name that only ends like one that is",
            Way::Redirect("https://bad-good.test:{port}/x"),
            NOT_LISTED,
            Opened::Key(("egress.source", "hosts", "[\"127.0.0.1\", \"*.test\"]")),
        ),
    ),
    under(
        &[("egress.source", "denied-hosts", "[\"pub.test\"]")],
        row(
            "a denied host in other letters, with a final dot",
            Way::Redirect("https://PUB.test.:{port}/x"),
            DENIED,
            Opened::Key(("egress.source", "denied-hosts", "[\"other.test\"]")),
        ),
    ),
    under(
        &[("egress.source", "denied-hosts", "[\"8.8.8.8\"]")],
        row(
            "a denied address in IPv6 clothes",
            Way::Redirect("https://[::ffff:8.8.8.8]:{port}/x"),
            DENIED,
            Opened::Key(("egress.source", "denied-hosts", "[\"8.8.8.9\"]")),
        ),
    ),
    under(
        &[("egress.source", "denied-addresses", "[\"8.8.8.0/24\"]")],
        row(
            "a name with an address in a denied range",
            Way::Redirect("https://pub.test:{port}/x"),
            DENIED,
            Opened::Key(("egress.source", "denied-addresses", "[\"8.8.9.0/24\"]")),
        ),
    ),
    under(
        &[("egress", "redirects", "1")],
        row(
            "one redirect more than is allowed",
            Way::Chain("https://8.8.8.8:{port}/x"),
            (10, "source-failed", "redirects once more than the 1 times allowed"),
            Opened::Key(("egress", "redirects", "2")),
        ),
    ),
    under(
        &[("egress.registry", "denied-addresses", "[\"10.0.0.0/8\"]")],
        row(
            "a registry in a denied range",
            Way::Registry("private.test:{port}"),
            DENIED,
            Opened::Key(("egress.registry", "denied-addresses", "[\"11.0.0.0/8\"]")),
        ),
    ),
    under(
        &[("egress.registry", "hosts", "[\"127.0.0.1\"]")],
        row(
            "an upload that moves to a host that is not listed",
            Way::Upload("https://8.8.8.8:{port}/up"),
            NOT_LISTED,
            Opened::Key(("egress.registry", "hosts", "[\"127.0.0.1\", \"8.8.8.8\"]")),
        ),
    ),
    under(
        &[("egress.registry", "hosts", "[\"127.0.0.1\"]")],
        row(
            "a token server that is not listed",
            Way::Realm("https://8.8.8.8:{port}/token"),
            NOT_LISTED,
            Opened::Key(("egress.registry", "hosts", "[\"127.0.0.1\", \"8.8.8.8\"]")),
        ),
    ),
];

/// Where a registry's answers lead.
const REGISTRY: &[Row] = &[
    row("an upload to 10/8", Way::Upload("https://10.0.0.1:{port}/up"), NOT_PUBLIC, Address("10.0.0.1")),
    row("an upload to another loopback", Way::Upload("https://127.0.0.2:{port}/up"), NOT_PUBLIC, Address("127.0.0.2")),
    row("an upload to another port", Way::Upload("https://127.0.0.1:{port}/up"), NOT_PUBLIC, Address("127.0.0.1")),
    row("an upload to IPv6's loopback", Way::Upload("https://[::1]:{port}/up"), NOT_PUBLIC, Address("::1")),
    row(
        "an upload to metadata",
        Way::Upload("https://169.254.169.254:{port}/up"),
        LINK_LOCAL,
        Address("169.254.169.254"),
    ),
    row(
        "an upload to mapped metadata",
        Way::Upload("https://[::ffff:a9fe:a9fe]:{port}/up"),
        LINK_LOCAL,
        Address("169.254.169.254"),
    ),
    row("an upload to a private name", Way::Upload("https://private.test:{port}/up"), NOT_PUBLIC, Address("10.0.0.1")),
    row("an upload down to plain HTTP", Way::Upload("http://8.8.8.8:{port}/up"), PLAIN, PlainHttp("8.8.8.8")),
    row(
        "an upload that moves after its first bytes",
        Way::Patched("https://10.0.0.1:{port}/up"),
        NOT_PUBLIC,
        Address("10.0.0.1"),
    ),
    row("a token server in 10/8", Way::Realm("https://10.0.0.1:{port}/token"), NOT_PUBLIC, Address("10.0.0.1")),
    row(
        "a token server at metadata",
        Way::Realm("https://169.254.169.254:{port}/token"),
        LINK_LOCAL,
        Address("169.254.169.254"),
    ),
    row("a token server over IPv6", Way::Realm("https://[fd12::1]:{port}/token"), NOT_PUBLIC, Address("fd12::1")),
    row(
        "a token server with a private name",
        Way::Realm("https://private.test:{port}/token"),
        NOT_PUBLIC,
        Address("10.0.0.1"),
    ),
    row("a token server over plain HTTP", Way::Realm("http://8.8.8.8:{port}/token"), PLAIN, PlainHttp("8.8.8.8")),
    row("a manifest in 10/8", Way::Manifest("https://10.0.0.1:{port}/m"), NOT_PUBLIC, Address("10.0.0.1")),
    row("a manifest at metadata", Way::Manifest("https://[fd20:ce::254]:{port}/m"), METADATA, Address("fd20:ce::254")),
    row(
        "a manifest at a name that changes",
        Way::Manifest("http://rebind-{n}.test:{port}/m"),
        NOT_PUBLIC,
        Address("10.0.0.1"),
    ),
    row("a blob in 10/8", Way::Blob("https://10.0.0.1:{port}/b"), NOT_PUBLIC, Address("10.0.0.1")),
    row("a blob at loopback", Way::Blob("https://localhost:{port}/b"), NOT_PUBLIC, Address("127.0.0.1")),
    row("the source's token server", Way::DiskRealm("https://10.0.0.1:{port}/token"), NOT_PUBLIC, Address("10.0.0.1")),
    row(
        "the source's token server, metadata",
        Way::DiskRealm("https://[fd00:ec2::254]:{port}/token"),
        METADATA,
        Address("fd00:ec2::254"),
    ),
    row("the source's layer", Way::DiskBlob("https://10.0.0.1:{port}/b"), NOT_PUBLIC, Address("10.0.0.1")),
    row(
        "the source's layer, metadata",
        Way::DiskBlob("https://169.254.169.254:{port}/b"),
        LINK_LOCAL,
        Address("169.254.169.254"),
    ),
];

/// What the environment says.
const ENVIRONMENT: &[Row] = &[
    row(
        "a proxy that the policy does not let in",
        Way::Variable("HTTPS_PROXY", "http://10.0.0.1:{port}", "https://8.8.8.9/x"),
        (10, "source-unreachable", "https://8.8.8.9 cannot be connected to"),
        Opened::Key(("egress", "proxy", "\"environment\"")),
    ),
    under(
        &[("egress", "proxy", "\"environment\"")],
        row(
            "a proxy at a metadata service",
            Way::Variable("HTTPS_PROXY", "http://169.254.169.254:{port}", "https://8.8.8.9/x"),
            LINK_LOCAL,
            Address("169.254.169.254"),
        ),
    ),
    under(
        &[("egress", "proxy", "\"environment\"")],
        row(
            "a proxy with a name of a metadata service",
            Way::Variable("ALL_PROXY", "meta.test:{port}", "https://8.8.8.9/x"),
            LINK_LOCAL,
            Address("169.254.169.254"),
        ),
    ),
    under(
        &[("egress", "proxy", "\"environment\""), ("egress.source", "denied-addresses", "[\"10.0.0.0/8\"]")],
        row(
            "a proxy in a denied range",
            Way::Variable("HTTPS_PROXY", "http://10.0.0.1:{port}", "https://8.8.8.9/x"),
            DENIED,
            Opened::Key(("egress.source", "denied-addresses", "[\"11.0.0.0/8\"]")),
        ),
    ),
    under(
        &[("egress", "proxy", "\"environment\"")],
        row(
            "around a proxy",
            Way::Variable("NO_PROXY", "*", "https://169.254.169.254:{port}/x"),
            LINK_LOCAL,
            Address("169.254.169.254"),
        ),
    ),
    under(
        &[("egress", "proxy", "\"environment\"")],
        row(
            "a metadata service by its name, over a proxy",
            Way::Variable("HTTPS_PROXY", "http://10.0.0.1:{port}", "https://metadata.google.internal/x"),
            METADATA,
            Opened::Key(("egress.source", "hosts", "[\"metadata.google.internal\"]")),
        ),
    ),
    under(
        &[("egress", "proxy", "\"environment\"")],
        row(
            "an address in 169.254/16 over a proxy",
            Way::Variable("HTTPS_PROXY", "http://10.0.0.1:{port}", "https://169.254.169.254/x"),
            LINK_LOCAL,
            Opened::Key(("egress.source", "addresses", "[\"169.254.169.254\", \"10.0.0.1\"]")),
        ),
    ),
];

/// What no key opens: addresses of no one host. `true`: a socket of the test's own gets there.
const NOBODY: &[(&str, bool)] = &[
    ("0.0.0.0", true),
    ("[::]", true),
    ("0", true),
    ("0x0", true),
    ("[::ffff:0.0.0.0]", true),
    ("unspecified.test", true),
    ("255.255.255.255", false),
    ("224.0.0.1", false),
    ("239.255.255.250", false),
    ("[ff02::1]", false),
    ("[ff05::1:3]", false),
];

/// What no key opens, for it is no way to say where something is.
const SHAPES: &[Row] = &[
    row("user information in a redirect", Way::Redirect("https://8.8.8.8@10.0.0.1:{port}/x"), ASTRAY, ANYTHING),
    row("another scheme in a redirect", Way::Redirect("ftp://10.0.0.1:{port}/x"), ASTRAY, ANYTHING),
    row("user information in an upload's location", Way::Upload("https://a:b@10.0.0.1:{port}/up"), AMISS, ANYTHING),
    row("another scheme in an upload's location", Way::Upload("gopher://10.0.0.1:{port}/up"), AMISS, ANYTHING),
    row("user information in a manifest's", Way::Manifest("https://a@10.0.0.1:{port}/m"), AMISS, ANYTHING),
];
const ASTRAY: (i32, &str, &str) = (11, "source-invalid", "redirects");
const AMISS: (i32, &str, &str) = (12, "registry-protocol", "it has ");
const ANYTHING: Opened = Address("10.0.0.1");

const ADDRESSES: &[&str] = &[
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "169.254.0.23",
    "169.254.42.42",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fd00:c1::a9fe:a9fe",
    "fd00:42::42",
    "::169.254.169.254",
    "::ffff:0:a9fe:a9fe",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "64:ff9b:1:a9fe:a9:fe00:808:808",
    "2002:a9fe:a9fe::1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "198.18.0.1",
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "240.0.0.1",
    "2001:db8::1",
    "3fff::1",
    "fd12::1",
    "fec0::1",
    "2001::1",
    "5f00::1",
    "64:ff9b::a00:1",
    "2002:a00:1::1",
    PUBLIC,
    FICKLE,
];

const HOSTS: &str = "127.0.0.1 localhost a.localhost\n169.254.169.254 hosts.test\n10.0.0.1 inside.test\n";

fn zone(name: &str, before: usize) -> Vec<IpAddr> {
    let addresses: &[&str] = match name {
        "meta.test" | "xn--bcher-kva.test" => &["169.254.169.254"],
        "meta6.test" => &["fd00:ec2::254"],
        "mapped.test" => &["::ffff:169.254.169.254"],
        "private.test" => &["10.0.0.1"],
        "private6.test" => &["fd12::1"],
        // Nobody has the first.
        "half.test" => &["8.8.8.9", "10.0.0.1"],
        "pub.test" | "bad-good.test" => &[FICKLE],
        "unspecified.test" => &["0.0.0.0"],
        name if name.starts_with("rebind-") && before == 0 => &[FICKLE],
        name if name.starts_with("rebind-") => &["10.0.0.1"],
        _ => &[],
    };
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

#[test]
fn every_way_out_is_closed_and_has_a_key() {
    let scratch = Scratch::new();
    let files = Files { hosts: HOSTS, resolver: "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n" };
    if !inside("every_way_out_is_closed_and_has_a_key", &scratch, ADDRESSES, files) {
        return;
    }
    dns::serve(zone);
    raw(&scratch.path("disk.raw"), 4096);
    let rows: Vec<&Row> = [NAMED, REDIRECTED, CLOSED, REGISTRY, ENVIRONMENT].into_iter().flatten().collect();
    assert!(rows.len() >= 60, "{}", rows.len());
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((at, row)) = Some(next.fetch_add(1, SeqCst)).and_then(|at| Some((at, rows.get(at)?))) {
                    let attempt = Attempt { scratch: &scratch, at, row };
                    if let Err(why) = attempt.judge() {
                        wrong.lock().unwrap().push(format!("{}: {why}", row.name));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n\n"));
    println!("{} attempts refused, {} controls got there", rows.len(), rows.len());
    nobody(&scratch);
    for (at, row) in SHAPES.iter().enumerate() {
        let attempt = Attempt { scratch: &scratch, at: rows.len() + at, row };
        let ((exit, code, says), (ran, came_in)) = (row.refused, attempt.run(true));
        ran.failed(exit, code, &[says]);
        assert_eq!(came_in, Vec::<IpAddr>::new(), "{}", row.name);
    }
}

/// Addresses that no key opens.
fn nobody(scratch: &Scratch) {
    for (host, reachable) in NOBODY {
        let listener = Listener::start(Arc::new(|_, _| not_found()));
        let policy = policy(scratch, "nobody", &[("egress.source", "addresses", "[\"0.0.0.0/0\", \"::/0\"]")], &[]);
        let url = format!("https://{host}:{}/x", listener.port);
        let to = format!("oci:{}", scratch.text("nobody"));
        let ran = finish(&mut longshore(["import", &*url, &*to, "--policy", &*policy]), b"");
        ran.failed(13, "egress-denied", &["it is not an address of one host"]);
        assert_eq!(listener.came_in(), Vec::<IpAddr>::new(), "{host}");
        if *reachable {
            let own = host.trim_start_matches("0x").trim_matches(['[', ']']);
            let own = if own == "unspecified.test" || own == "0" { "0.0.0.0" } else { own };
            let address: IpAddr = own.parse().unwrap();
            drop(TcpStream::connect((address, listener.port)).unwrap_or_else(|why| panic!("{host}: {why}")));
            while listener.came_in().is_empty() {
                std::thread::yield_now();
            }
        }
    }
}

struct Attempt<'a> {
    scratch: &'a Scratch,
    at: usize,
    row: &'a Row,
}

impl Attempt<'_> {
    fn judge(&self) -> Result<(), String> {
        let (exit, code, says) = self.row.refused;
        let (ran, came_in) = self.run(false);
        let said = format!("exit {:?}\nstdout: {}\nstderr: {}", ran.code, ran.stdout, ran.stderr);
        if !came_in.is_empty() {
            return Err(format!("IT GOT OUT, to {came_in:?}: {said}"));
        }
        if ran.code != Some(exit) || !ran.stderr.contains(&format!("error[{code}]: ")) || !ran.stderr.contains(says) {
            return Err(format!("expected exit {exit}, {code} and `{says}`: {said}"));
        }
        let (ran, came_in) = self.run(true);
        if came_in.is_empty() {
            return Err(format!(
                "the control got nowhere: exit {:?}\nstdout: {}\nstderr: {}",
                ran.code, ran.stdout, ran.stderr
            ));
        }
        Ok(())
    }

    /// One run, with the key that opens the way or without, and where connections came in at the target.
    fn run(&self, opened: bool) -> (Ran, Vec<IpAddr>) {
        let n = format!("{}-{opened}", self.at);
        // A name that changes is public at first, and hands everybody on to itself.
        let target =
            Listener::start(Arc::new(|_, at| if at.to_string() == FICKLE { redirect("/again") } else { not_found() }));
        let text = |text: &str| text.replace("{port}", &target.port.to_string()).replace("{n}", &n);
        let hop = Arc::new(Mutex::new(String::new()));
        let front = Listener::start(self.front(&hop, text));
        let mut variables = vec![];
        let disk = self.scratch.text("disk.raw");
        let layout = format!("oci:{}", self.scratch.text(&format!("layout-{n}")));
        let own = format!("127.0.0.1:{}", front.port);
        let (source, registry) = (format!("http://{own}/disk"), format!("docker://{own}/vm:1"));
        let import = |source: &str, to: &str| vec!["import".to_owned(), source.to_owned(), to.to_owned()];
        let arguments = match self.row.way {
            Way::Source(url) => import(&text(url), &layout),
            Way::Probe(url) => vec!["probe".to_owned(), text(url)],
            Way::Doctor(peer) => vec!["doctor".to_owned(), text(peer)],
            Way::Redirect(_) | Way::Chain(_) => import(&source, &layout),
            Way::Guest(_) => {
                [import(&source, &layout), vec!["--source".to_owned(), Fixture::SourceWasiHttp03.path()]].concat()
            }
            Way::Sums(url) => [import(&disk, &layout), vec!["--checksum-file".to_owned(), text(url)]].concat(),
            Way::SumsRedirect(_) => [import(&disk, &layout), vec!["--checksum-file".to_owned(), source]].concat(),
            Way::Registry(host) => import(&disk, &format!("docker://{}/vm:1", text(host))),
            Way::Upload(_) | Way::Patched(_) | Way::Realm(_) => import(&disk, &registry),
            Way::Manifest(_) | Way::Blob(_) => vec!["inspect".to_owned(), registry],
            Way::DiskRealm(_) | Way::DiskBlob(_) => import(&registry, &layout),
            Way::Variable(name, value, url) => {
                variables.push((name, text(value)));
                import(&text(url), &layout)
            }
        };
        let policy = self.policy(&n, opened);
        let mut command = longshore(arguments);
        let ran = finish(command.args(["--policy", &policy]).envs(variables), b"");
        let mut came_in = target.came_in();
        if matches!(self.row.way, Way::Redirect(url) | Way::Manifest(url) if url.contains("rebind")) {
            came_in.retain(|at| at.to_string() != FICKLE);
        }
        (ran, came_in)
    }

    /// Whom the program was told of: the peer that leads it astray.
    fn front(&self, hop: &Arc<Mutex<String>>, text: impl Fn(&str) -> String) -> Answer {
        let accepted = |location: &str| {
            format!("HTTP/1.1 202 Accepted\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        };
        match self.row.way {
            Way::Redirect(to) | Way::Guest(to) | Way::SumsRedirect(to) | Way::Manifest(to) => {
                let to = text(to);
                Arc::new(move |head, _| if head.starts_with("GET /v2/ ") { empty(200) } else { redirect(&to) })
            }
            Way::Chain(to) => {
                let to = text(to);
                let port = Listener::start(Arc::new(move |_, _| redirect(&to))).port;
                *hop.lock().unwrap() = format!("http://{PUBLIC}:{port}/hop");
                let first = hop.lock().unwrap().clone();
                Arc::new(move |_, _| redirect(&first))
            }
            Way::Upload(to) => {
                let to = text(to);
                Arc::new(move |head, _| match head.split(' ').next() {
                    Some("POST") => accepted(&to),
                    Some("HEAD") => empty(404),
                    _ => empty(200),
                })
            }
            Way::Patched(to) => {
                let to = text(to);
                Arc::new(move |head, _| match head.split(' ').next() {
                    Some("POST") => accepted("/v2/vm/blobs/uploads/1"),
                    Some("PATCH") => accepted(&to),
                    Some("HEAD") => empty(404),
                    _ => empty(200),
                })
            }
            Way::Realm(to) | Way::DiskRealm(to) => {
                let challenge = format!("WWW-Authenticate: Bearer realm=\"{}\",service=\"s\"\r\n", text(to));
                Arc::new(move |_, _| {
                    format!("HTTP/1.1 401 No\r\n{challenge}Content-Length: 0\r\nConnection: close\r\n\r\n")
                })
            }
            Way::Blob(to) | Way::DiskBlob(to) => {
                let to = text(to);
                Arc::new(move |head, _| match head.split(' ').nth(1) {
                    Some(path) if path.contains("/manifests/") => manifest(),
                    Some(path) if path.contains("/blobs/") => redirect(&to),
                    _ => empty(200),
                })
            }
            Way::Source(_) | Way::Probe(_) | Way::Doctor(_) | Way::Sums(_) | Way::Registry(_) | Way::Variable(..) => {
                Arc::new(|_, _| panic!("nobody comes here"))
            }
        }
    }

    fn policy(&self, n: &str, opened: bool) -> String {
        let mut keys: Vec<(&str, &str, String)> =
            self.row.base.iter().map(|(section, key, value)| (*section, *key, (*value).to_owned())).collect();
        let rebind = format!("rebind-{n}.test");
        let mut plain = vec!["127.0.0.1", PUBLIC, &*rebind];
        let section = match self.row.way {
            Way::Registry(_) | Way::Upload(_) | Way::Patched(_) | Way::Realm(_) | Way::Manifest(_) | Way::Blob(_) => {
                "egress.registry"
            }
            Way::Doctor(peer) if peer.starts_with("docker:") => "egress.registry",
            _ => "egress.source",
        };
        match self.row.opened_by {
            _ if !opened => {}
            Address(address) => {
                // Whoever lists addresses lists all of them: those on the way are in it.
                let mut listed = vec![address, "127.0.0.1", PUBLIC, FICKLE, ABSENT];
                listed.sort_unstable();
                listed.dedup();
                let listed: Vec<String> = listed.iter().map(|address| format!("\"{address}\"")).collect();
                keys.push((section, "addresses", format!("[{}]", listed.join(", "))));
            }
            PlainHttp(host) => plain.push(host),
            Opened::Key((section, key, value)) => keys.push((section, key, value.to_owned())),
        }
        let keys: Vec<(&str, &str, &str)> =
            keys.iter().map(|(section, key, value)| (*section, *key, &**value)).collect();
        policy(self.scratch, n, &keys, &plain)
    }
}

/// A policy of these keys, of which the later count, that tries nothing twice.
fn policy(scratch: &Scratch, n: &str, keys: &[(&str, &str, &str)], plain: &[&str]) -> String {
    let mut sections: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    let hosts: Vec<String> = plain.iter().map(|host| format!("\"{host}\"")).collect();
    if !hosts.is_empty() {
        sections.entry("egress").or_default().insert("plain-http", format!("[{}]", hosts.join(", ")));
    }
    let limits = [("connect", "\"5s\""), ("attempts", "1"), ("source-attempts", "1"), ("back-off", "\"1ms\"")];
    let limits = limits.map(|(key, value)| ("limits", key, value));
    for (section, key, value) in limits.iter().chain(keys) {
        sections.entry(section).or_default().insert(key, (*value).to_owned());
    }
    let mut text = "schema = \"longshore.policy/v1\"\n".to_owned();
    for (section, keys) in sections {
        text.push_str(&format!("[{section}]\n"));
        text.extend(keys.iter().map(|(key, value)| format!("{key} = {value}\n")));
    }
    let path: PathBuf = scratch.path(&format!("policy-{n}.toml"));
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 307 Elsewhere\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

fn empty(status: u16) -> String {
    format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

fn not_found() -> String {
    empty(404)
}

/// A manifest whose config is a blob elsewhere.
fn manifest() -> String {
    let blob = |kind: &str| format!(r#"{{"mediaType":"{kind}","digest":"sha256:{}","size":2}}"#, "a".repeat(64));
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let (config, layer) =
        (blob("application/vnd.oci.image.config.v1+json"), blob("application/vnd.oci.image.layer.v1.tar"));
    let text = format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{config},"layers":[{layer}]}}"#);
    let digest: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nDocker-Content-Digest: sha256:{digest}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
}
