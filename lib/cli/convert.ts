import { Option } from 'commander'
import type { Command } from 'commander'
import { convertPins, formats } from '../formats/convert.js'
import type { Format } from '../formats/convert.js'
import { action, createCommand } from './command.js'
import type { Run } from './command.js'
import { exitCode } from './exit.js'
import { showText } from './format.js'
import { decodeInput, readInput } from './input.js'

/** `convert --from F --to G <file>`: pins of other systems to ours, and back. */
export function convertCommand(run: Run): Command {
  return createCommand('convert', 'Convert pins: our pins file (JSON, YAML), Android network_security_config.xml, TrustKit (property list), OkHttp CertificatePinner calls (Kotlin, Java), HPKP header, curl --pinnedpubkey.')
    .argument('<file>', 'the file, or - for standard input')
    .addOption(new Option('--from <format>', 'what it is').choices(formats).makeOptionMandatory())
    .addOption(new Option('--to <format>', 'what it shall become').choices(formats).makeOptionMandatory())
    .option('--host <host>', 'whose pins they are (hpkp and curl name no host), or which host of the file')
    .option('--strict', 'exit code 1 when something could not be said in the other format')
    .action(
      action(run, async (output, file: string, { from, to, host, strict }: { from: Format; to: Format; host?: string; strict?: boolean }) => {
        const name = file === '-' ? 'standard input' : file
        const bytes = await readInput(file, run.terminal)
        // A binary property list is recognised by its first bytes, later.
        const given = bytes.subarray(0, 6).toString('latin1') === 'bplist' ? bytes.toString('latin1') : decodeInput(bytes, name)
        const { text, notes } = convertPins(given, { from, to, name, host, now: Date.now() })
        output.result({ from, to, text, notes }, () => text.trimEnd())
        if (!output.json) for (const note of notes) output.note(`note: ${showText(note)}`)
        return strict === true && notes.length > 0 ? exitCode.refused : exitCode.ok
      })
    )
}
