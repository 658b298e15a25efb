"""What the registry's scan is known to flag.

The scan's rules are not public, but its findings are: the registry names rule and matched text of
every version (`/nodes/<id>/versions?include_status_reason=true`), and publishers quote them, as in
Comfy-Org/registry-backend issues 192, 215, 223, 229 and 242. It matches text and knows no syntax: a
comment, a message or JavaScript counts like a call, and one finding of any severity takes the
version out of the Manager. These patterns are wider than the quoted ones on purpose.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

CODE = frozenset({".py", ".js"})


class Rule(NamedTuple):
    """A kind of finding; `example` is a text that it must find."""

    name: str  # the registry's where it is known
    pattern: str
    example: str
    everywhere: bool = False  # in documents and data as well as in code


RULES = (
    Rule("environment", r"\benviron\b|\b(?:get|put|unset)env\b", 'os.environ.get("HOME")'),
    Rule(
        "command_injection",
        r"\bsubprocess\b|\bPopen\b|\bos\.(?:system|popen|startfile|(?:exec|spawn)[a-z]+)\b"
        r"|\bshell\s*=",
        "subprocess.run([name])",
    ),
    Rule(
        "network_calls",
        r"\.(?:connect|bind|send(?:all|to)?|recv(?:from|_into)?)\s*\(",
        "node.connect(0, other, 1)",
        everywhere=True,
    ),
    Rule(
        "network_modules",
        r"\burllib\b|\burl(?:open|retrieve)\b|\brequests\.|\b(?:import|from) (?:requests|socket)\b"
        r"|\bsocket\.[a-z]|\bhttp\.client\b|\bhttpx\b|\baiohttp\b|\bftplib\b|\bsmtplib\b"
        r"|\bget(?:tempdir|hostname)\b|\bgethostby|\bXMLHttpRequest\b|\bWebSocket\b"
        r"|\b(?:hf_hub|snapshot)_download\b|\b(?:download|load_state_dict_from)_url\b|\btorch\.hub\b"
        r"|\bfetch\(\s*['\"`]http",
        "urllib.request.urlopen(address)",
    ),
    Rule(
        "dynamic_execution",
        r"(?<![.\w])(?:eval|exec|compile)\s*\(|\.(?:eval|exec)\s*\(\s*[^)\s]|\bnew Function\b",
        "value = eval(text)",
    ),
    Rule(
        "bytecode_manipulation",
        r"\bimport_module\b|__import__|__builtins__|\bimportlib\.machinery\b|\bmarshal\b|\bctypes\b"
        r"|\b(?:module_from_spec|spec_from_file_location)\b",
        'importlib.import_module("torch")',
    ),
    Rule(
        "deserialization",
        r"\bpickle\.(?:loads?|Unpickler)\b|\bdill\b|\bweights_only\s*=\s*False\b|\byaml\.load\s*\(",
        "pickle.load(file)",
    ),
    Rule(
        "sensitive_file_access",
        r"\bPath\([^()]*\)\.read_(?:bytes|text)\b|/etc/(?:passwd|shadow)\b|\.ssh\b|\bexpanduser\b",
        "Path(name).read_bytes()",
    ),
    Rule(
        "privilege_escalation",
        r"\b(?:f?chmod|l?chown|set[eug]?uid|sudo|doas|pkexec|runas)\b|(?<![\w-])su(?![\w-])",
        "os.chmod(name, 0o644)",
    ),
    Rule(
        "installer",
        r"\bpip3?\W+install\b|\b(?:apt|apt-get|conda|npm|uv|brew) (?:pip )?install\b|\bensurepip\b",
        "python -m pip install torch",
    ),
    Rule(
        "url_command_execution",
        r"\b(?:curl|wget|ffmpeg|ffprobe|pandoc|yt-dlp)\b|\bgit clone\b|\bcmd\s*=\s*\[",
        "cmd = [name, address]",
    ),
    Rule("process", r"\bkernel32\b|\bOpenProcess\b|\bwinreg\b|\bos\.kill\b", "os.kill(number, 9)"),
    Rule("database", r"\bsqlite3?\b|\bpymysql\b|\bpsycopg|\bpymongo\b", "import sqlite3"),
    Rule("cryptography", r"\b(?:import|from) (?:cryptography|Crypto)\b", "import cryptography"),
    Rule("credentials", r"(?i)\b(?:hf|civitai|hub|api|access)_(?:token|key)\b", "HF_TOKEN"),
    Rule(
        "blacklisted_url",
        r"\braw\.githubusercontent\.|\bpastebin\.|\bdiscord\w*\.com/api|\bngrok\b|\bbit\.ly/"
        r"|\btransfer\.sh\b",
        "https://raw.githubusercontent.com/a/b/main/c.png",
        everywhere=True,
    ),
    Rule(
        "custom_dependency",
        r"\bgit\+(?:https?|ssh):|--(?:extra-)?index-url\b|--find-links\b|[\w\]] @ (?:https?|file):",
        "name @ https://host/name.whl",
        everywhere=True,
    ),
    Rule(
        "blob",
        r"[A-Za-z0-9+/]{160,}|\b(?:base64|[ab]2b_\w+|b64decode)\b|(?:\\x[0-9a-fA-F]{2}){16,}",
        "A" * 160,
        everywhere=True,
    ),
)


def findings(folder: Path) -> list[str]:
    """`path:line: rule: text` of everything in a folder that the scan would flag."""
    lines: list[str] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        text = _text(path)
        for rule in RULES:
            if text and (rule.everywhere or path.suffix in CODE):
                lines += [f"{path.relative_to(folder).as_posix()}:{m}" for m in matches(rule, text)]
    return lines


def matches(rule: Rule, text: str) -> list[str]:
    """`line: rule: text` of everything that one rule finds."""
    return [
        f"{text.count(chr(10), 0, match.start()) + 1}: {rule.name}: {match.group()[:60]}"
        for match in re.finditer(rule.pattern, text)
    ]


def _text(path: Path) -> str:
    """The file as text; empty for weights and pictures."""
    content = path.read_bytes()
    try:
        return "" if b"\0" in content[:4096] else content.decode("utf-8")
    except UnicodeDecodeError:
        return ""
