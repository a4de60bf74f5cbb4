# The built-in voice on a CPU, offline, as a user without rights:
#   docker build -t tts-fm .
#   docker run --rm tts-fm say "Hello there." -o - > hello.wav
#   docker run --rm -p 127.0.0.1:8000:8000 tts-fm        (the server)
FROM debian:trixie-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/tts-fm
COPY pyproject.toml README.md LICENSE /src/
COPY tts_fm /src/tts_fm
RUN /opt/tts-fm/bin/pip install --no-cache-dir "/src[serve]"

FROM debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 speaker
COPY --from=build /opt/tts-fm /opt/tts-fm
ENV PATH=/opt/tts-fm/bin:$PATH PYTHONUNBUFFERED=1 TTS_FM_HOME=/home/speaker/tts_fm
USER speaker
WORKDIR /home/speaker
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["tts-fm"]
CMD ["serve", "--host", "0.0.0.0"]
