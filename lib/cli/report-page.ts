import type { Checked } from './check.js'
import { summarise } from './check-text.js'
import { showDay, showDaysLeft, showText } from './format.js'
import type { Expiry, HostCheck, HostStatus } from './host-check.js'

/**
 * One self-contained page: what is not well, a timeline of every expiry, the soonest first, and all hosts. Has no script,
 * loads nothing, and forbids both to itself, since names in it were chosen by strangers.
 */
export function renderReport(checked: Checked, warnDays: number): string {
  const { file, time, hosts, unchecked } = checked
  const attention = hosts.filter(({ status }) => status !== 'ok')
  const entries = timeline(hosts)
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>${escape(`Pins: ${summarise(hosts)}`)}</title>
<style>${style}</style>
</head>
<body>
<header>
<h1>Pins of <span class="file">${escape(file)}</span></h1>
<p>${escape(summarise(hosts))}. Checked on <time datetime="${time.toISOString()}">${time.toISOString().slice(0, 16).replace('T', ' ')} UTC</time>.</p>
<ul class="tiles">${(['refused', 'unreachable', 'warning', 'ok'] as const).map((status) => renderTile(status, hosts)).join('')}</ul>
</header>
<main>
${attention.length === 0 ? '' : `<section aria-labelledby="attention"><h2 id="attention">To do</h2><ul class="cards">${attention.map(renderAttention).join('')}</ul></section>`}
<section aria-labelledby="timeline"><h2 id="timeline">What expires when</h2>
${entries.length === 0 ? '<p>Nothing that was seen expires.</p>' : `${renderMonths(entries, time.getTime())}${renderTimeline(entries, time.getTime(), warnDays)}`}
</section>
<section aria-labelledby="hosts"><h2 id="hosts">All hosts</h2><ul class="hosts">${hosts.map(renderHost).join('')}</ul></section>
${unchecked.length === 0 ? '' : `<section aria-labelledby="unchecked"><h2 id="unchecked">Not checked</h2><p>No host was given that falls under these patterns.</p><ul>${unchecked.map((pattern) => `<li><code>${escape(pattern)}</code></li>`).join('')}</ul></section>`}
</main>
</body>
</html>
`
}

/** What ends at one moment: a CA counts once, however many hosts rest on it. */
interface Entry extends Expiry {
  readonly hosts: readonly string[]
}

function timeline(hosts: readonly HostCheck[]): Entry[] {
  const entries = new Map<string, Expiry & { hosts: string[] }>()
  for (const { target, expiries } of hosts) {
    for (const expiry of expiries) {
      const key = `${expiry.what} ${expiry.fingerprint ?? expiry.name}`
      const { pinned = false, hosts: others = [] } = entries.get(key) ?? {}
      entries.set(key, { ...expiry, pinned: pinned || expiry.pinned, hosts: [...others, target] })
    }
  }
  return [...entries.values()].sort((a, b) => a.date.getTime() - b.date.getTime())
}

function renderTile(status: HostStatus, hosts: readonly HostCheck[]): string {
  const count = hosts.filter((check) => check.status === status).length
  return `<li class="tile ${count > 0 ? status : 'none'}"><b>${count}</b> ${statusNames[status]}</li>`
}

const statusNames: Record<HostStatus, string> = { refused: 'refused', unreachable: 'unreachable', warning: 'to watch', ok: 'well' }

function renderAttention({ target, status, problems, diagnosis }: HostCheck): string {
  const lines = problems.map(({ message }) => `<li>${escape(message)}</li>`).join('')
  const why = diagnosis ? `<p class="why"><b>${escape(diagnosis.verdict)}</b> (confidence: ${diagnosis.confidence}). ${escape(diagnosis.advice)}</p>` : ''
  return `<li class="card ${status}"><h3>${escape(target)} <span class="pill">${statusNames[status]}</span></h3><ul>${lines}</ul>${why}</li>`
}

/** How much expires in each of the next twelve months; what has passed is in the first. */
function renderMonths(entries: readonly Entry[], now: number): string {
  const start = new Date(now)
  const months = Array.from({ length: 12 }, (_, index) => new Date(Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + index, 1)))
  const counts = months.map((month, index) => {
    const end = Date.UTC(month.getUTCFullYear(), month.getUTCMonth() + 1, 1)
    return entries.filter(({ date }) => date.getTime() < end && (index === 0 || date.getTime() >= month.getTime())).length
  })
  const most = Math.max(1, ...counts)
  const columns = months.map((month, index) => {
    const count = counts[index] as number
    const name = monthNames[month.getUTCMonth()] as string
    return `<li title="${name} ${month.getUTCFullYear()}: ${count}"><span class="count">${count || ''}</span><span class="bar" style="height:${((count / most) * 4.5).toFixed(2)}rem"></span><span class="month">${name}</span></li>`
  })
  const later = entries.length - counts.reduce((sum, count) => sum + count, 0)
  return `<ol class="months" aria-label="How much expires in each of the next twelve months">${columns.join('')}</ol>${later === 0 ? '' : `<p class="later">and ${later} later</p>`}`
}

const monthNames = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

function renderTimeline(entries: readonly Entry[], now: number, warnDays: number): string {
  const bounds: Array<[name: string, days: number, urgency: string]> = [
    ['Expired', 0, 'late'],
    ['Within a week', 7, 'now'],
    [`Within ${warnDays} days`, warnDays, 'soon'],
    ['Within 90 days', 90, 'calm'],
    ['Within a year', 365, 'calm'],
    ['Later', Infinity, 'calm']
  ]
  // Warnings may begin earlier or later than the other steps.
  bounds.sort((a, b) => a[1] - b[1])
  let from = -Infinity
  return bounds
    .map(([name, days, urgency]) => {
      const group = entries.filter(({ date }) => inDays(date, now) >= from && inDays(date, now) < days)
      from = Math.max(from, days)
      const level = urgency === 'calm' && days <= warnDays ? 'soon' : urgency === 'now' && days > warnDays ? 'calm' : urgency
      return group.length === 0 ? '' : `<h3 class="step ${level}">${name}</h3><ol class="timeline ${level}">${group.map((entry) => renderEntry(entry, now)).join('')}</ol>`
    })
    .join('')
}

function inDays(date: Date, now: number): number {
  return (date.getTime() - now) / 86_400_000
}

function renderEntry(entry: Entry, now: number): string {
  const { what, name, date, pinned, hosts } = entry
  const thing = { leaf: 'Certificate', authority: 'CA', policy: 'Policy' }[what]
  const shown = hosts.filter((host) => host !== name).slice(0, 5).map(escape).join(', ')
  const more = hosts.length > 5 ? `<details><summary>and ${hosts.length - 5} more</summary>${hosts.slice(5).map(escape).join(', ')}</details>` : ''
  return `<li><p class="when"><b>${escape(showDaysLeft(date, now))}</b> <time datetime="${date.toISOString()}">${showDay(date)}</time></p><p class="what"><span class="kind">${thing}${pinned && what !== 'policy' ? ', pinned' : ''}</span> ${escape(name)}</p><div class="on">${shown}${more}</div></li>`
}

function renderHost({ target, status, mode, match, backups, tlsVersion, pattern, leaf }: HostCheck): string {
  const facts: Array<[string, string]> = [
    ['Policy', pattern === undefined ? 'none: PKI alone decides' : `${escape(pattern)}${mode === 'enforce' ? '' : `, ${mode}`}`],
    ['Matched', match === undefined ? '-' : `<code>${escape(match.pin)}</code> (${match.of === 'leaf' ? 'the leaf' : escape(match.subject ?? 'an authority')})`],
    ['Backup pins', backups.length === 0 ? 'none' : backups.map((pin) => `<code>${escape(pin)}</code>`).join('<br>')],
    ...(leaf ? [['Certificate', `${escape(leaf.subject)}<br><code>${escape(leaf.fingerprint)}</code><br><code>${escape(leaf.pin ?? 'its key cannot be read')}</code>`] as [string, string]] : []),
    ...(tlsVersion === undefined ? [] : [['Version', escape(tlsVersion)] as [string, string]])
  ]
  return `<li><details class="${status}"><summary><span class="host">${escape(target)}</span> <span class="pill">${statusNames[status]}</span></summary><dl>${facts.map(([name, value]) => `<dt>${name}</dt><dd>${value}</dd>`).join('')}</dl></details></li>`
}

function escape(text: string): string {
  return showText(text).replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}

const style = `
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--quiet:#5b6470;--line:#d9dee4;--card:#f6f8fa;--late:#b42318;--soon:#b54708;--away:#6941c6;--good:#067647}
@media (prefers-color-scheme:dark){:root{--paper:#14171b;--ink:#e8ebef;--quiet:#9aa4b0;--line:#323942;--card:#1c2127;--late:#ff8a80;--soon:#ffb266;--away:#c3a6ff;--good:#5fd99a}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:1rem;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.2;margin:.5rem 0}
h2{font-size:1.2rem;margin:2rem 0 .75rem}
h3{font-size:1rem;margin:0}
p{margin:.25rem 0}
ul,ol{list-style:none;margin:0;padding:0}
code,.file{font-family:ui-monospace,SFMono-Regular,Menlo,monospace;font-size:.85em}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(7.5rem,1fr));gap:.5rem;margin-top:1rem}
.tile{padding:.6rem .75rem;border-radius:.5rem;background:var(--card);border-left:.3rem solid var(--tone)}
.tile b{display:block;font-size:1.6rem;line-height:1.1}
.refused{--tone:var(--late)}.unreachable{--tone:var(--away)}.warning{--tone:var(--soon)}.ok{--tone:var(--good)}.none{--tone:var(--line);color:var(--quiet)}
.cards{display:grid;gap:.5rem}
.card{padding:.75rem;border-radius:.5rem;background:var(--card);border-left:.3rem solid var(--tone)}
.card ul{list-style:disc;padding-left:1.2rem;margin-top:.25rem}
.why{color:var(--quiet);font-size:.9rem}
.pill{display:inline-block;padding:0 .5rem;border-radius:1rem;border:1px solid var(--tone);color:var(--tone);font-size:.8rem;font-weight:600;white-space:nowrap}
.months{display:grid;grid-template-columns:repeat(12,minmax(0,1fr));gap:.2rem;padding:.5rem;background:var(--card);border-radius:.5rem}
.later{text-align:right;font-size:.8rem;color:var(--quiet)}
.months li{display:flex;flex-direction:column;justify-content:flex-end;align-items:center;height:7rem}
.months .month{font-size:.7rem;color:var(--quiet)}
.months .count{font-size:.75rem}
.months .bar{width:70%;min-height:1px;background:var(--quiet);border-radius:.2rem .2rem 0 0}
.months li:first-child .bar{background:var(--late)}
.step{margin:1.25rem 0 .5rem;color:var(--tone)}
.late,.now{--tone:var(--late)}.soon{--tone:var(--soon)}.calm{--tone:var(--quiet)}
.timeline{border-left:2px solid var(--line);margin-left:.4rem}
.timeline li{position:relative;padding:0 0 .9rem 1.1rem}
.timeline li::before{content:"";position:absolute;left:-.45rem;top:.4rem;width:.75rem;height:.75rem;border-radius:50%;background:var(--tone);border:2px solid var(--paper)}
.when b{color:var(--tone)}
.when time{color:var(--quiet);margin-left:.4rem}
.kind{font-size:.8rem;padding:.05rem .4rem;border-radius:.3rem;background:var(--card);border:1px solid var(--line)}
.on{color:var(--quiet);font-size:.9rem}
details summary{cursor:pointer}
.hosts>li{border-top:1px solid var(--line)}
.hosts summary{display:flex;justify-content:space-between;align-items:center;gap:.75rem;padding:.5rem 0}
.hosts summary::before{content:"▸";color:var(--quiet)}
.hosts [open]>summary::before{content:"▾"}
.hosts .host{flex:1}
.hosts summary::-webkit-details-marker{display:none}
dl{display:grid;grid-template-columns:7rem minmax(0,1fr);gap:.25rem .75rem;margin:0 0 .75rem}
dt{color:var(--quiet)}
dd{margin:0}
@media (max-width:30rem){dl{grid-template-columns:minmax(0,1fr)}dd{margin-bottom:.4rem}}
`
