#!/usr/bin/env python3
"""Opens report.html in headless Chromium: no console message, no request to anywhere, hostile texts stay text, nothing
wider than the screen. Screenshots go to $THIMBLE_SCREENSHOTS. `report_test.py FILE.html` looks at a report that exists.
"""
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
    candidates.write_text('schemes = ["q4_0", "q2_k"]\n')
    done = subprocess.run([os.environ["THIMBLE"], "squeeze", os.environ["THIMBLE_NANO"], "--device",
                           source / "devices/phone-4gb.toml", "--tasks", tasks, "--candidates", candidates, "-o",
                           folder / "out"], capture_output=True, text=True)
    assert done.returncode in (0, 11), done.stderr
    return folder / "out" / "report.html"


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
        assert "<script>" not in dom, "a text became an element"
        for width in (360, 1100):
            # A copy of the page that says how wide it is: the page itself has no script.
            copy = folder / f"wide_{width}.html"
            probe = "<script>document.title = document.documentElement.scrollWidth</script></body>"
            copy.write_text(page.read_text().replace("</body>", probe))
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
            screenshot(chromium, page, shots, "report_light.png", 1100, 2600)
            screenshot(chromium, page, shots, "report_dark.png", 1100, 2600, "--force-dark-mode",
                       "--blink-settings=preferredColorScheme=0")
            frame = pathlib.Path(shots) / "report_phone_frame.html"
            frame.write_text(f"<!DOCTYPE html><body style='margin:0'><iframe src='file://{page}' "
                             "style='width:375px;height:3000px;border:0'></iframe>")
            screenshot(chromium, frame, shots, "report_phone.png", 500, 3000, "--allow-file-access-from-files")
            frame.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
