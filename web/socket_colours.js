/**
 * Gives this pack's kinds of sockets and links colours of their own.
 *
 * The host empties the colours of all kinds that its palette does not name, whenever a palette is
 * loaded. Ours are what an emptied entry falls back to; a palette that names them is obeyed.
 */

import { app } from '../../scripts/app.js'

const NAME = 'PCDM.SocketColours'
const COLOURS = {
  PCDM_POSE: '#26c6da',
  PCDM_PRIOR: '#7e57c2',
  PCDM_ENCODERS: '#c0a16b',
  PCDM_EMBEDDING: '#d4e157'
}

/** For nodes drawn on the canvas: an entry of the host's table that empty values leave as it is. */
function colourEntry(table, kind) {
  let colour = table[kind] || COLOURS[kind]
  Object.defineProperty(table, kind, {
    get: () => colour,
    set(value) {
      colour = value || COLOURS[kind]
    },
    enumerable: true,
    configurable: true
  })
}

/** For Vue nodes: what a property is where no palette sets it. */
function colourProperty(kind) {
  const name = `--color-datatype-${kind}`
  CSS.registerProperty({ name, syntax: '<color>', inherits: true, initialValue: COLOURS[kind] })
}

// Two copies of the pack serve this file twice; the first one is enough.
if (!app.extensions?.some((extension) => extension.name === NAME)) {
  app.registerExtension({
    name: NAME,
    setup() {
      const tables = [
        app.canvas.constructor.link_type_colors,
        app.canvas.default_connection_color_byType
      ]
      for (const kind of Object.keys(COLOURS)) {
        for (const table of tables) colourEntry(table, kind)
        colourProperty(kind)
      }
    }
  })
}
