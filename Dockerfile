# fieldbeat as an image: agent, cloud and run.
#   docker build -t fieldbeat .
#   docker run --rm fieldbeat run
FROM docker.io/library/python:3.12-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY agent agent
COPY cloud_stub cloud_stub
COPY scenarios scenarios
RUN python -m venv /opt/fieldbeat \
 && /opt/fieldbeat/bin/pip install --no-cache-dir --no-compile '.[agent,cloud]' \
 && /opt/fieldbeat/bin/pip uninstall --yes pip

FROM docker.io/library/python:3.12-slim-bookworm
COPY --from=build /opt/fieldbeat /opt/fieldbeat
RUN useradd --system --uid 10001 --home-dir /data --create-home fieldbeat
ENV PATH=/opt/fieldbeat/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8080 8443 48484
# the stub's health, or an agent's
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s \
  CMD ["python", "-m", "scenarios.health"]
ENTRYPOINT ["fieldbeat"]
CMD ["--help"]
