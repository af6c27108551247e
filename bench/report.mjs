// The table in docs/performance.md, between its markers, and the plot beside it.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/**
 * @typedef {import('./measure.mjs').Score} Score
 * @typedef {{ machine: Record<string, unknown>, results: Array<{ name: string, unit: string, scores: Score[] }>, figures: Record<string, any> }} Run
 */

/** @param {Run} run */
export function writeReport({ machine, results, figures }) {
  const docs = (/** @type {string} */ name) => fileURLToPath(new URL(`../docs/${name}`, import.meta.url))
  writeFileSync(docs('performance.svg'), plot(results))
  replaceBetween('measured', [
    `Node ${machine['node']}, OpenSSL ${machine['openssl']}, axios ${machine['axios']}, ${machine['cores']} cores of ${machine['cpu']}, Linux ${machine['kernel']}, ${machine['date']}; ${machine['rounds']} interleaved rounds, of requests twice as many. Ratios are to the first line of each set in the same round: median (quartiles).`,
    '',
    '| set | | per second | × speed | × CPU of the client | × the recipe |',
    '|---|---|---:|---:|---:|---:|',
    ...results.flatMap(({ name, scores }) => scores.map((score, i) => `| ${i === 0 ? name : ''} | ${score.name} | ${score.perSecond.toFixed(score.perSecond < 100 ? 1 : 0)} | ${i === 0 ? '1' : show(score.ratio)} | ${i === 0 ? '1' : show(score.cpuRatio)} | ${score.overRecipe && score.name.startsWith('pinned') ? show(score.overRecipe) : ''} |`)),
    '',
    ...(figures['lookups'] ? ['| hosts | look-up | built in | heap per host |', '|---:|---:|---:|---:|', ...figures['lookups'].map((/** @type {any} */ { hosts, lookupNanos, buildMs, bytesPerHost }) => `| ${hosts} | ${lookupNanos} ns | ${buildMs} ms | ${hosts < 1_000 ? 'too few to tell' : `${bytesPerHost} B`} |`), ''] : []),
    ...(figures['bytesPerIdleConnection'] ? [`Memory per idle connection: ${Object.entries(figures['bytesPerIdleConnection']).map(([name, bytes]) => `${name} ${bytes} B`).join(', ')}.`] : []),
    ...(figures['coldStart'] ? [`Cold start, this package over axios: ${show(figures['coldStart'].esm.over, 1)} ms by \`import\`, ${show(figures['coldStart'].cjs.over, 1)} ms by \`require\`, which loads ${figures['coldStart'].cjs.files} more files and ${figures['coldStart'].cjs.builtIns} more parts of Node.`] : []),
  ])
}

/** @param {{ machine: Record<string, unknown>, grown: Record<string, Array<Record<string, unknown>>> }} run */
export function writeGrowth({ machine, grown }) {
  const table = (/** @type {Array<Record<string, unknown>>} */ rows) => {
    const names = Object.keys(rows[0] ?? {})
    return [`| ${names.join(' | ')} |`, `|${names.map(() => '---:').join('|')}|`, ...rows.map((row) => `| ${names.map((name) => row[name]).join(' | ')} |`)]
  }
  const text = [`Node ${machine['node']}, ${machine['cores']} cores of ${machine['cpu']}, ${machine['date']}; milliseconds, and megabytes of heap and buffers after a collection.`, ...Object.entries(grown).flatMap(([name, rows]) => ['', `**${name[0]?.toUpperCase()}${name.slice(1)}**`, '', ...table(rows)])]
  replaceBetween('grown', text)
}

/** @param {string} mark @param {string[]} lines */
function replaceBetween(mark, lines) {
  const page = fileURLToPath(new URL('../docs/performance.md', import.meta.url))
  const [begin, end] = [`<!-- ${mark} -->`, `<!-- /${mark} -->`]
  writeFileSync(page, readFileSync(page, 'utf8').replace(new RegExp(`${begin}[^]*${end}`), () => [begin, ...lines, end].join('\n')))
}

/** @param {import('./measure.mjs').Spread} spread */
function show({ median, low, high }, digits = 2) {
  return `${median.toFixed(digits)} (${low.toFixed(digits)}–${high.toFixed(digits)})`
}

/** Each set a group of bars: the ratio to axios without pins, with its quartiles. @param {Run['results']} results */
function plot(results) {
  const [left, row, width] = [330, 18, 900]
  const shown = results.map(({ name, scores }) => ({ name, scores: scores.slice(1) }))
  const most = 3
  const x = (/** @type {number} */ ratio) => left + (Math.min(ratio, most) / most) * (width - left - 60)
  let y = 40
  const parts = []
  for (const { name, scores } of shown) {
    parts.push(`<text x="10" y="${y + 13}" font-weight="bold">${name}</text>`)
    y += row
    for (const { name: who, ratio } of scores) {
      const fill = who.startsWith('pinned') ? '#2563eb' : who.startsWith('refused') ? '#b45309' : '#94a3b8'
      parts.push(`<text x="${left - 8}" y="${y + 12}" text-anchor="end">${who}</text><rect x="${left}" y="${y + 2}" width="${(x(ratio.median) - left).toFixed(1)}" height="${row - 5}" fill="${fill}"/>`)
      parts.push(`<line x1="${x(ratio.low).toFixed(1)}" x2="${x(ratio.high).toFixed(1)}" y1="${y + 8}" y2="${y + 8}" stroke="#0f172a" stroke-width="2"/><text x="${(x(Math.max(ratio.high, ratio.median)) + 6).toFixed(1)}" y="${y + 12}">${ratio.median.toFixed(2)}</text>`)
      y += row
    }
    y += 8
  }
  const one = x(1)
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${y + 10}" font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/><text x="10" y="20" font-size="14">Speed as a ratio to axios without pins in the same run (1 = as fast; more is faster); line: quartiles</text><line x1="${one}" x2="${one}" y1="30" y2="${y}" stroke="#dc2626" stroke-dasharray="4 3"/>${parts.join('')}</svg>\n`
}
