// Metrics for Prometheus, through OpenTelemetry; grafana-dashboard.json shows them.
import { metrics } from '@opentelemetry/api'
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus'
import { MeterProvider } from '@opentelemetry/sdk-metrics'
import axios from 'axios'
import { pinAxios } from 'axios-ssl-pinning'
import { createAuthority, startHttpsServer } from 'axios-ssl-pinning/testing'
import { createServer } from 'node:http'

const exporter = new PrometheusExporter({ preventServerStart: true })
metrics.setGlobalMeterProvider(new MeterProvider({ readers: [exporter] }))
const scraped = createServer((req, res) => exporter.getMetricsRequestHandler(req, res))
await new Promise((resolve) => scraped.listen(Number(process.env['PORT'] ?? 0), '127.0.0.1', () => resolve(undefined)))

const root = createAuthority()
const certificate = root.issue()
const backup = root.issue() // its key is kept offline; its pin is published already
const [server, impostor] = await Promise.all([startHttpsServer(certificate), startHttpsServer(root.issue())])
const api = axios.create({ proxy: false })
const pinning = pinAxios(api, {
  pins: { localhost: { pins: [certificate.fingerprint, backup.pin], expires: '2090-01-01' } },
  tls: { ca: root.pem },
  openTelemetry: true,
  reportTo: () => undefined
})

await api.get(server.url)
await api.get(impostor.url).catch((error) => console.log(error.code))
await api.get('https://127.0.0.1/').catch((error) => console.log(error.code))

// What Prometheus would fetch.
const address = scraped.address()
const { data } = await axios.get(`http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/metrics`, { proxy: false })
console.log(data)
await Promise.all([pinning.close(), server.close(), impostor.close(), exporter.shutdown()])
scraped.close()
