// Line charts as SVG, with nothing but what these three need.

/**
 * @typedef {object} Line
 * @property {string} name
 * @property {string} colour
 * @property {ReadonlyArray<readonly [number, number]>} points
 *
 * @typedef {object} Chart
 * @property {string} title
 * @property {{ label: string, ticks: readonly number[], show?: (value: number) => string }} x the first and the last tick are its ends
 * @property {{ label: string, ticks: readonly number[], show?: (value: number) => string }} y
 * @property {readonly Line[]} lines
 * @property {ReadonlyArray<{ at: number, text: string }>} [marks] on the x axis
 */

const [width, height] = [760, 340]
const box = { left: 64, right: 16, top: 56, bottom: 48 }

/** @param {Chart} chart */
export function plot({ title, x, y, lines, marks = [] }) {
  const ends = (/** @type {readonly number[]} */ ticks) => /** @type {[number, number]} */ ([ticks[0], ticks.at(-1)])
  const [x0, x1] = ends(x.ticks)
  const [y0, y1] = ends(y.ticks)
  const px = (/** @type {number} */ value) => round(box.left + ((value - x0) / (x1 - x0)) * (width - box.left - box.right))
  const py = (/** @type {number} */ value) => round(height - box.bottom - ((Math.min(value, y1) - y0) / (y1 - y0)) * (height - box.top - box.bottom))
  const parts = [
    text(box.left, 22, title, 'font-size="15" font-weight="600"'),
    ...lines.map(({ name, colour }, index) => `<rect x="${box.left + index * 220}" y="34" width="14" height="3" fill="${colour}"/>${text(box.left + 20 + index * 220, 39, name)}`),
    ...y.ticks.map((tick) => `<line x1="${box.left}" x2="${width - box.right}" y1="${py(tick)}" y2="${py(tick)}" stroke="#e3e3e3"/>${text(box.left - 8, py(tick) + 4, (y.show ?? String)(tick), 'text-anchor="end"')}`),
    ...x.ticks.map((tick) => `<line x1="${px(tick)}" x2="${px(tick)}" y1="${height - box.bottom}" y2="${height - box.bottom + 5}" stroke="#888"/>${text(px(tick), height - box.bottom + 19, (x.show ?? String)(tick), 'text-anchor="middle"')}`),
    ...marks.map(({ at, text: label }) => `<line x1="${px(at)}" x2="${px(at)}" y1="${box.top}" y2="${height - box.bottom}" stroke="#888" stroke-dasharray="3 3"/>${text(px(at) + 4, box.top + 10, label, 'fill="#666"')}`),
    ...lines.map(({ colour, points }) => `<path fill="none" stroke="${colour}" stroke-width="1.5" d="${points.map(([at, value], index) => `${index === 0 ? 'M' : 'L'}${px(at)} ${py(value)}`).join('')}"/>`),
    text((box.left + width - box.right) / 2, height - 10, x.label, 'text-anchor="middle" fill="#666"'),
    `<text transform="translate(14 ${(box.top + height - box.bottom) / 2}) rotate(-90)" text-anchor="middle" fill="#666">${escape(y.label)}</text>`
  ]
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="${escape(title)}">\n<rect width="100%" height="100%" fill="#fff"/>\n${parts.join('\n')}\n</svg>\n`
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} content
 */
function text(x, y, content, attributes = '') {
  return `<text x="${x}" y="${y}" ${attributes}>${escape(content)}</text>`
}

/** @param {string} content */
function escape(content) {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10
}
