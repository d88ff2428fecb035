#!/usr/bin/env python3
"""Opens report.html in headless Chromium: no console message, no request to anywhere, hostile texts stay text, no script
runs but the page's own, which finds answers; nothing wider than the screen. Screenshots go to $THIMBLE_SCREENSHOTS.
`report_test.py FILE.html` looks at a report that exists.
"""
import base64
import hashlib
import html
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
         "--disable-default-apps", "--hide-scrollbars", "--enable-logging=stderr", "--v=0"]
HOSTILE = "<script>console.error('broken out')</script><img src=http://localhost:9/x.png onerror=console.error(2)>"


def browse(chromium, page, folder, *extra):
    """Loads `page`; gives (DOM, console messages, URLs asked for)."""
    profile = tempfile.mkdtemp(dir=folder)
    log = pathlib.Path(profile) / "net.json"
    done = subprocess.run([chromium, *FLAGS, f"--user-data-dir={profile}", f"--log-net-log={log}", *extra, "--dump-dom",
                           f"file://{page}"], capture_output=True, text=True, errors="replace", timeout=120)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, console, requests_of_pages(log.read_text(errors="replace"))


def requests_of_pages(text):
    """URLs that a page asked for. What the browser does on its own account (updates, clock) has no origin."""
    try:
        events = json.loads(text)["events"]
    except json.JSONDecodeError:  # the log is cut when the browser ends early
        events = json.loads(text.rstrip().rstrip(",") + "]}")["events"]
    found = set()
    for event in events:
        params = event.get("params", {})
        if params.get("initiator", "not an origin") != "not an origin" and not params["url"].startswith(("file:", "data:")):
            found.add(params["url"])
    return found


def screenshot(chromium, page, folder, name, width, height, *extra):
    target = pathlib.Path(folder) / name
    profile = tempfile.mkdtemp(dir=folder)
    subprocess.run([chromium, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", *extra,
                    f"--screenshot={target}", f"file://{page}"], capture_output=True, timeout=120, check=True)
    shutil.rmtree(profile, ignore_errors=True)
    return target


def make_report(folder):
    """A squeeze of the embedded model on a few items with hostile references."""
    tasks = folder / "tasks"
    tasks.mkdir()
    source = pathlib.Path(os.environ["THIMBLE_SOURCE"])
    lines = (source / "tasks/nano/menu.eval.jsonl").read_text().splitlines()[:8]
    items = [json.loads(line) for line in lines]
    for item in items:
        item["refs"].append(HOSTILE)
        item["cluster"] = HOSTILE
    (tasks / "menu.eval.jsonl").write_text("".join(json.dumps(i) + "\n" for i in items))
    task = json.loads((source / "tasks/nano/menu.task.json").read_text())
    task["task"] = HOSTILE
    del task["sha256"]  # of all items
    (tasks / "menu.task.json").write_text(json.dumps(task))
    candidates = folder / "candidates.toml"
    candidates.write_text('schemes = ["q4_0", "q3_k_m", "q2_k"]\n')
    text = folder / "text.txt"
    text.write_bytes((source / "models/nano/MODEL_CARD.md").read_bytes()[:4000] + HOSTILE.encode())
    done = subprocess.run([os.environ["THIMBLE"], "squeeze", os.environ["THIMBLE_NANO"], "--device",
                           source / "devices/phone-4gb.toml", "--tasks", tasks, "--candidates", candidates, "--text", text, "-o",
                           folder / "out"], capture_output=True, text=True)
    assert done.returncode in (0, 11), done.stderr
    return folder / "out" / "report.html"


SEARCH = """
const field = document.querySelector('.search input'), items = [...document.querySelectorAll('#worst .example')];
const shown = () => items.filter(e => e.offsetParent !== null && !e.hidden).length;
const type = text => { field.value = text; field.dispatchEvent(new Event('input')); };
const before = shown(), visible = !document.querySelector('.search').hidden;
type('no answer says this 8f3a'); const none = shown();
type(items[0].querySelector('pre').textContent.slice(0, 40)); const some = shown(), note = document.querySelector('output').textContent;
type(''); const after = shown();
document.title = JSON.stringify({visible, before, none, some, note, after, all: items.length});
"""


def check_script(chromium, page, folder):
    """The page's own script is the one its policy names, and its search finds and hides; no other script runs."""
    text = page.read_text()
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert len(scripts) == 1, f"{len(scripts)} scripts"
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text, f"the policy does not name the script: sha256-{digest}"
    broken = folder / "broken.html"
    broken.write_text(text.replace("</body>", "<script>document.title = 'broken in'</script></body>"))
    dom, console, _ = browse(chromium, broken, folder)
    assert "<title>broken in" not in dom and console, "the policy lets another script run"
    if 'class="example"' not in text:
        return
    probe = folder / "search.html"
    probe.write_text(without_policy(text).replace("</body>", f"<script>{SEARCH}</script></body>"))
    dom, _, _ = browse(chromium, probe, folder)
    seen = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dom, re.S).group(1)))
    assert seen["visible"] and seen["none"] == 0, seen
    assert 1 <= seen["some"] <= seen["all"] and f"of {seen['all']}" in seen["note"], seen
    assert seen["before"] == seen["after"], seen


def without_policy(text):
    """The page with its content security policy off, for probes of the test."""
    out = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    assert out != text, "no content security policy"
    return out


def check_can_fail(chromium, folder):
    """The checks below find a page that logs and one that loads."""
    bad = folder / "bad.html"
    bad.write_text(f"<!DOCTYPE html><title>x</title>{HOSTILE}")
    _, console, urls = browse(chromium, bad, folder)
    assert console, "console messages are not seen"
    assert any("localhost:9" in u for u in urls), f"requests are not seen: {urls}"


def main():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        print("SKIP browser: no chromium on this machine")
        return 77
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        page = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else make_report(folder)
        check_can_fail(chromium, folder)
        dom, console, urls = browse(chromium, page, folder)
        assert "<svg" in dom and "<table" in dom, "the page is not there"
        assert not console, console
        assert not urls, urls
        assert dom.count("<script>") == 1 and "<img" not in dom, "a text became an element"
        check_script(chromium, page, folder)
        for width in (360, 1100):
            # A copy of the page that says how wide it is; the page's policy lets no such script run.
            copy = folder / f"wide_{width}.html"
            probe = "<script>document.title = document.documentElement.scrollWidth</script></body>"
            copy.write_text(without_policy(page.read_text()).replace("</body>", probe))
            # Headless windows are at least 500 px wide: a frame of the wanted width stands in for the phone.
            frame = folder / f"frame_{width}.html"
            frame.write_text(f"<!DOCTYPE html><iframe id=f src={copy.name} style='width:{width}px;height:800px;border:0'>"
                             "</iframe><script>onload = () => { document.body.append('width=' + "
                             "document.getElementById('f').contentDocument.title) }</script>")
            dom, _, _ = browse(chromium, frame, folder, "--allow-file-access-from-files")
            seen = re.search(r"width=(\d+)", dom)
            assert seen, dom[-300:]
            assert int(seen.group(1)) <= width, f"the page is {seen.group(1)} px wide on a screen of {width}"
        shots = os.environ.get("THIMBLE_SCREENSHOTS")
        if shots:
            screenshot(chromium, page, shots, "report_light.png", 1100, 5200)
            screenshot(chromium, page, shots, "report_dark.png", 1100, 5200, "--force-dark-mode",
                       "--blink-settings=preferredColorScheme=0")
            frame = pathlib.Path(shots) / "report_phone_frame.html"
            frame.write_text(f"<!DOCTYPE html><body style='margin:0'><iframe src='file://{page}' "
                             "style='width:375px;height:7000px;border:0'></iframe>")
            screenshot(chromium, frame, shots, "report_phone.png", 500, 7000, "--allow-file-access-from-files")
            frame.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
