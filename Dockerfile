# The service as one small image: packages by the same lock file as ./run, no compiler, no root.
# Other commands:  docker run IMAGE migrate  ·  docker run IMAGE keys generate  ·  docker run IMAGE simulator

FROM python:3.13-slim-bookworm AS build
WORKDIR /srv/partner
RUN python -m venv --without-pip /venv
COPY requirements.lock ./
RUN python -m pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md alembic.ini ./
COPY app app
COPY migrations migrations
COPY simulator simulator
COPY examples examples
RUN python -m pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --editable .
RUN python -m pip --python /venv/bin/python uninstall --yes --quiet hatchling editables pathspec pluggy tomlkit trove-classifiers
RUN /venv/bin/python -m compileall -q /venv/lib app migrations simulator && chmod -R a+rX /srv/partner /venv

FROM python:3.13-slim-bookworm
RUN groupadd --system --gid 10001 partner && useradd --system --uid 10001 --gid partner --no-create-home --home-dir /nonexistent partner
WORKDIR /srv/partner
COPY --from=build /venv /venv
COPY --from=build /srv/partner /srv/partner
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["partner"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
