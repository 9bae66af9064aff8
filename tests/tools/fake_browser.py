"""Stands for the browser's half of a lab in tests without a browser: sends messages, and puts together what the answers draw."""

import gzip
import json


class Browser:
    """A view's only browser: ``answers`` are all that came, ``bytes`` how long each was on the wire."""

    def __init__(self, view, monkeypatch):
        self.view, self.sequence, self.answers, self.bytes = view, 0, [], []
        monkeypatch.setattr(view, "send", self.receive)
        self.press("show")

    def receive(self, content, buffers=()):
        """Take an answer, which is compressed if it is long."""
        text = gzip.decompress(buffers[0]).decode() if buffers else json.dumps(content)
        self.answers.append(json.loads(text))
        self.bytes.append(len(buffers[0]) if buffers else len(text))

    def message(self, content):
        """Deliver any content as the browser would; return the answer."""
        self.view._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})
        return self.answers[-1]

    def press(self, action, **params):
        """Send a message with the next sequence number; return its answer."""
        self.sequence += 1
        answer = self.message({"action": action, "params": params, "sequence": self.sequence})
        assert answer["sequence"] == self.sequence
        return answer

    def known(self, name):
        """What the browser knows of something that is sent only when it changed."""
        return next(answer[name] for answer in reversed(self.answers) if name in answer)

    def drawn(self):
        """The fragments that the browser has after all answers so far."""
        fragments = {}
        for answer in self.answers:
            for name in answer.get("gone", ()):
                del fragments[name]
            fragments |= answer.get("fragments", {})
        return fragments
