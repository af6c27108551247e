import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { launch } from 'puppeteer-core'
import type { Browser, Page } from 'puppeteer-core'
import type { Checked } from '../../lib/cli/check.js'
import type { Expiry, HostCheck, HostStatus } from '../../lib/cli/host-check.js'
import { compareUrgency } from '../../lib/cli/host-check.js'
import { renderReport } from '../../lib/cli/report-page.js'
import { startPlainServer } from '../support/servers.js'

// The report in a real browser, on the screen of a phone and on a wide one.

const program = spawnSync('sh', ['-c', 'command -v chromium || command -v chromium-browser || command -v google-chrome'], { encoding: 'utf8' }).stdout.trim()
const now = Date.parse('2027-01-10T12:00:00Z')
const hostile = '<img src=x onerror="window.attacked=1"><script>window.attacked=1</script>"\'&\u202e'

function expiry(what: Expiry['what'], name: string, days: number, pinned = false): Expiry {
  return { what, name, pinned, date: new Date(now + days * 86_400_000), daysLeft: Math.floor(days), fingerprint: `${what} ${name}` }
}

function host(index: number, status: HostStatus, days: number, name = `host${index}.example.com`): HostCheck {
  const expiries = [expiry('leaf', `CN=${name}, O=Example ${index}`, days, true), expiry('authority', 'CN=Issuing CA of a long name that has to wrap somewhere on a phone, O=Trust Services', 700), expiry('authority', 'CN=Root', 4_000)]
  return {
    target: name, host: name, port: 443, status, mode: 'enforce', pattern: name, expiries, tlsVersion: 'TLSv1.3',
    backups: [`sha256/${'b'.repeat(43)}=`],
    match: { pin: `sha256/${'a'.repeat(43)}=`, of: 'leaf', subject: `CN=${name}` },
    leaf: { subject: `CN=${name}`, fingerprint: Array(32).fill('AB').join(':'), pin: `sha256/${'a'.repeat(43)}=` },
    problems: status === 'ok' ? [] : [{ kind: status === 'warning' ? 'expiring' : status, message: `something about ${name}` }],
    ...(status === 'refused' && { diagnosis: { verdict: 'key-rotated', confidence: 'low', evidence: [], advice: `Ask the owner of ${name}.` } })
  }
}

const hosts = [
  ...Array.from({ length: 60 }, (_, index) => host(index, 'ok', 40 + index * 7)),
  host(60, 'warning', 12.5), host(61, 'warning', 3.5), host(62, 'refused', 90), host(63, 'unreachable', 90), host(64, 'refused', -4.5),
  host(65, 'refused', 1.5, hostile), host(66, 'warning', 25, `${'very-long-label-'.repeat(3)}.${'another-one-'.repeat(4)}.example.com`)
].sort(compareUrgency)
const checked: Checked = { file: `/etc/pins/${'deep/'.repeat(20)}pins.json`, time: new Date(now), hosts, unchecked: ['*.example.org', hostile], exitCode: 1 }

let browser: Browser
let folder: string
let url: string
const asked: string[] = []

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'report-'))
  writeFileSync(join(folder, 'report.html'), renderReport(checked, 30))
  url = pathToFileURL(join(folder, 'report.html')).href
  if (program) browser = await launch({ executablePath: program, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] })
})
afterAll(async () => {
  await browser?.close()
  rmSync(folder, { recursive: true })
})

async function open(width: number, height: number): Promise<Page> {
  const page = await browser.newPage()
  page.on('request', (request) => asked.push(request.url()))
  await page.setViewport({ width, height, isMobile: width < 600, deviceScaleFactor: 2 })
  await page.goto(url)
  return page
}

/** Text, since these tests are compiled without the browser's types. */
async function inPage<T>(page: Page, script: string): Promise<T> {
  return (await page.evaluate(`(() => { ${script} })()`)) as T
}

const each = program ? test.each : test.skip.each
const name = program ? '%s' : '%s: chromium is not installed: apt-get install chromium'

each([['phone', 390, 844], ['small phone', 320, 568], ['desk', 1200, 900]] as const)(name, async (_, width, height) => {
  const page = await open(width, height)
  for (const opened of [false, true]) {
    const layout = await inPage(
      page,
      `for (const details of document.querySelectorAll('details')) details.open = ${opened}
      const name = (element) => element.tagName + '.' + element.className + ': ' + element.textContent.slice(0, 40)
      const all = [...document.body.querySelectorAll('*')]
      const tooWide = all.filter((element) => element.getBoundingClientRect().right > innerWidth + 0.5 || (getComputedStyle(element).display !== 'inline' && element.scrollWidth > element.clientWidth + 1)).map(name)
      const tooSmall = all.filter((element) => element.textContent.trim() && parseFloat(getComputedStyle(element).fontSize) < 11).map(name)
      return { page: document.documentElement.scrollWidth, window: innerWidth, tooWide, tooSmall }`
    )
    expect(layout).toEqual({ page: width, window: width, tooWide: [], tooSmall: [] })
  }
  await page.close()
})

const one = program ? test : test.skip

one('the timeline goes from the most urgent to the latest, and holds every expiry once', async () => {
  const page = await open(390, 844)
  const seen = await inPage<{ steps: string[]; dates: string[]; first: string; attention: string[] }>(
    page,
    `return {
      steps: [...document.querySelectorAll('.step')].map((step) => step.textContent),
      dates: [...document.querySelectorAll('.timeline time')].map((time) => time.getAttribute('datetime')),
      first: document.querySelector('.timeline li').textContent,
      attention: [...document.querySelectorAll('.card h3')].map((card) => card.textContent)
    }`
  )
  const unique = new Set(hosts.flatMap(({ expiries }) => expiries.map(({ fingerprint }) => fingerprint)))
  expect(seen.steps).toEqual(['Expired', 'Within a week', 'Within 30 days', 'Within 90 days', 'Within a year', 'Later'])
  expect(seen.dates).toHaveLength(unique.size)
  expect(seen.dates).toEqual([...seen.dates].sort())
  expect(seen.first).toMatch(/^expired 4 days ago 2027-01-06Certificate, pinned CN=host64\.example\.com/)
  expect(seen.attention[0]).toMatch(/host64.*refused/)
  await page.close()
})

one('what strangers wrote stays text, and nothing is loaded', async () => {
  const page = await open(390, 844)
  const { attacked, text, elements } = await inPage<{ attacked: boolean; text: string; elements: number }>(page, "return { attacked: 'attacked' in window, text: document.body.textContent, elements: document.querySelectorAll('img, script, link, iframe').length }")
  expect([attacked, elements]).toEqual([false, 0])
  expect(asked.filter((each) => each !== url)).toEqual([])
  expect(text).toContain('<img src=x onerror="window.attacked=1"><script>window.attacked=1</script>"\'&\\u{202e}')
  const server = await startPlainServer()
  // Even if something were not escaped, it could neither run nor load.
  await inPage(
    page,
    `document.body.insertAdjacentHTML('beforeend', '<img src="http://127.0.0.1:${server.port}/x"><style>@import "http://127.0.0.1:${server.port}/y"</style><p onclick="window.attacked=1" id="trap">x</p>')
    document.getElementById('trap').click()`
  )
  expect(await inPage(page, "return 'attacked' in window")).toBe(false)
  await page.close()
  expect(server.connections).toBe(0)
  await server.close()
})

one('it is readable in light and dark', async () => {
  const page = await open(390, 844)
  for (const value of ['light', 'dark']) {
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value }])
    const worst = await inPage(
      page,
      `const luminance = (color) => {
        const [r, g, b] = color.match(/[\\d.]+/g).map((part) => part / 255).map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
        return 0.2126 * r + 0.7152 * g + 0.0722 * b
      }
      const backgroundOf = (element) => {
        const { backgroundColor } = getComputedStyle(element)
        return backgroundColor === 'rgba(0, 0, 0, 0)' ? backgroundOf(element.parentElement) : backgroundColor
      }
      return Math.min(...[...document.querySelectorAll('p, li, b, h2, h3, dd, dt, span, time, code')].filter((element) => element.textContent.trim()).map((element) => {
        const [a, b] = [luminance(getComputedStyle(element).color), luminance(backgroundOf(element))]
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
      }))`
    )
    // WCAG 2.2, 1.4.3: 4.5 to 1.
    expect(worst).toBeGreaterThanOrEqual(4.5)
  }
  await page.close()
})
