"""Fetches one page of the web. Runs in a container of its own, with nothing but Python's library:

    python3 -I -c <this file> ADDRESS MOST_BYTES SECONDS

writes a line of JSON (the final address and the type, or what is wrong), then the bytes.
"""

import http.client
import json
import signal
import sys
import urllib.error
import urllib.parse
import urllib.request


class Redirects(urllib.request.HTTPRedirectHandler):
    """To other pages, and to nothing else."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        if urllib.parse.urlsplit(newurl).scheme not in ("http", "https"):
            raise ValueError("it leads to something that is no web page")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def main(address: str, most: int, seconds: float) -> None:
    opener = urllib.request.build_opener(Redirects, urllib.request.ProxyHandler({}))
    asked = urllib.request.Request(address, headers={
        "User-Agent": "Mozilla/5.0 (compatible; InstantWorker knowledge)",
        "Accept": "text/html,application/xhtml+xml,application/pdf,text/*;q=0.9,*/*;q=0.5"})
    said, data = {}, b""
    signal.alarm(int(2 * seconds))  # whoever sends letter by letter holds nobody
    try:
        with opener.open(asked, timeout=seconds) as answer:
            data = answer.read(most + 1)
            said = {"address": answer.geturl(), "type": answer.headers.get_content_type()}
            if len(data) > most:
                said = {"error": f"it is larger than {most >> 20} MB"}
    except urllib.error.HTTPError as error:
        said = {"error": f"it answers {error.code} ({error.reason})"[:200]}
    except urllib.error.URLError as error:
        said = {"error": f"it can't be reached ({error.reason})"[:200]}
    except (OSError, http.client.HTTPException, ValueError) as error:
        said = {"error": f"it can't be read ({error})"[:200]}
    sys.stdout.buffer.write(json.dumps(said).encode() + b"\n" + ("error" not in said) * data)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
