"""A crawler over a site in memory: breadth first, few requests at a time, time limits, retries."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

SITE: dict[str, list[str]] = {
    "/": ["/about", "/news", "/shop"],
    "/about": ["/", "/people", "/jobs"],
    "/people": ["/about", "/people/ann", "/people/bob"],
    "/people/ann": ["/people", "/news/2"],
    "/people/bob": ["/people", "/missing"],
    "/jobs": ["/about", "/slow"],
    "/news": ["/news/1", "/news/2", "/news/3"],
    "/news/1": ["/news", "/news/2"],
    "/news/2": ["/news/1", "/news/3"],
    "/news/3": ["/news/2", "/flaky"],
    "/shop": ["/shop/cart", "/flaky"],
    "/shop/cart": ["/shop"],
    "/flaky": ["/hidden"],
    "/hidden": [],
    "/slow": ["/never seen"],
}


class NotFoundError(Exception):
    """There is no such page."""


class BusyError(Exception):
    """The site asks to come again."""


class Site:
    """Answers after a moment; one page hangs, one is busy the first two times."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.open = 0
        self.most = 0

    async def fetch(self, path: str) -> list[str]:
        """The links of a page."""
        self.requests[path] += 1
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await asyncio.sleep(0)
            if path == "/slow":
                await asyncio.Event().wait()
            if path == "/flaky" and self.requests[path] <= 2:
                raise BusyError(path)
            if path not in SITE:
                raise NotFoundError(path)
            return SITE[path]
        finally:
            self.open -= 1


@dataclass
class Report:
    """What the crawl has found."""

    depths: dict[str, int] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


class Crawler:
    """Follows links from a start page, `limit` requests at a time."""

    def __init__(self, site: Site, limit: int, patience: float = 0.8, attempts: int = 3) -> None:
        self._site = site
        self._slots = asyncio.Semaphore(limit)
        self._patience = patience
        self._attempts = attempts
        self.report = Report()

    async def _load(self, path: str) -> list[str]:
        for attempt in range(1, self._attempts + 1):
            async with self._slots:
                try:
                    async with asyncio.timeout(self._patience):
                        return await self._site.fetch(path)
                except BusyError:
                    if attempt == self._attempts:
                        raise
            await asyncio.sleep(0.001 * attempt)
        raise AssertionError("the loop returns or raises")

    async def _visit(self, path: str) -> list[str]:
        try:
            return await self._load(path)
        except (NotFoundError, BusyError, TimeoutError) as error:
            self.report.errors[path] = type(error).__name__
            return []

    async def crawl(self, start: str) -> Report:
        """Visit all that can be reached, level by level."""
        level = [start]
        self.report.depths[start] = 0
        while level:
            pending = {asyncio.create_task(self._visit(path), name=path) for path in level}
            depth = self.report.depths[level[0]] + 1
            level = []
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for link in sorted({link for task in done for link in task.result()}):
                    if link not in self.report.depths:
                        self.report.depths[link] = depth
                        level.append(link)
        return self.report


async def main() -> None:
    site = Site()
    crawler = Crawler(site, limit=3)
    report = await crawler.crawl("/")
    for path, depth in sorted(report.depths.items(), key=lambda item: (item[1], item[0])):
        print(f"{depth} {path:12} {report.errors.get(path, 'ok')}")
    print("requests for /flaky:", site.requests["/flaky"])
    print("at most", site.most, "at a time, now", site.open)


asyncio.run(main())
