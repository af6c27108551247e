import { parser } from '@prometheus-io/lezer-promql'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

const folder = join(__dirname, '../../examples')

interface Dashboard {
  readonly panels: ReadonlyArray<{ readonly title: string; readonly targets: ReadonlyArray<{ readonly expr: string; readonly legendFormat: string }> }>
}

const { panels } = JSON.parse(readFileSync(join(folder, 'grafana-dashboard.json'), 'utf8')) as Dashboard
const targets = panels.flatMap(({ title, targets: each }) => each.map((target) => ({ title, ...target })))

test.each(targets)('$title: the query is PromQL', ({ expr }) => {
  const query = expr.replaceAll('$__rate_interval', '5m')
  const errors: string[] = []
  parser.parse(query).iterate({ enter: ({ type, from, to }) => void (type.isError && errors.push(query.slice(from, to) || `at ${from}`)) })
  expect(errors).toEqual([])
})

test('both gauges of the threat monitor are on it', () => {
  expect(targets.map(({ expr }) => /axios_ssl_pinning_threat_\w+/.exec(expr)?.[0]).filter(Boolean)).toEqual(['axios_ssl_pinning_threat_excess', 'axios_ssl_pinning_threat_score'])
})

test('the dashboard asks for metrics and labels that the example has', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [join(folder, 'prometheus.mjs')], { timeout: 20_000 })
  const samples = stdout.split('\n').filter((line) => line.startsWith('axios_ssl_pinning_'))
  const labelsOf = (name: string): string[] => samples.filter((line) => line.startsWith(`${name}{`)).flatMap((line) => [...line.matchAll(/[{,](\w+)="/g)].map(([, label]) => label as string))
  // No threat occurs in the example, and `instance` is Prometheus' own.
  const known = (name: string): string[] => (name === 'axios_ssl_pinning_threats_total' ? ['kind', 'severity'] : [...labelsOf(name), ...(labelsOf(name).length > 0 ? ['instance'] : [])])
  for (const { expr, legendFormat } of targets) {
    const [name] = /axios_ssl_pinning_\w+/.exec(expr) ?? ['']
    const asked = [...[...expr.matchAll(/by \(([^)]+)\)/g)].flatMap(([, list]) => (list as string).split(/,\s*/)), ...[...expr.matchAll(/(\w+)=~?"/g)].map(([, label]) => label as string), ...[...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label as string)]
    expect({ name, missing: asked.filter((label) => !known(name).includes(label)), known: known(name).length > 0 }).toEqual({ name, missing: [], known: true })
  }
})
