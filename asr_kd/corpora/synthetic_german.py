"""Smart-home requests in German: what the voices of `asr-kd prepare synthetic --language de` say."""

SLOTS_DE = {
    "raum": (
        "im wohnzimmer, in der küche, im schlafzimmer, im badezimmer, in der garage, im flur, im büro, im keller, "
        "im gästezimmer, im kinderzimmer, im garten, auf der terrasse, auf dem balkon, im esszimmer, im treppenhaus, "
        "auf dem dachboden"
    ),
    "licht": (
        "das licht, die lampe, die deckenlampe, die stehlampe, die leselampe, das nachtlicht, die außenleuchte, "
        "die weihnachtsbeleuchtung"
    ),
    "gerät": (
        "den ventilator, die heizung, den fernseher, das radio, den backofen, die spülmaschine, den staubsauger, "
        "den wasserkocher, den toaster, den lautsprecher, den drucker, die kaffeemaschine, die waschmaschine, "
        "die klimaanlage, den weihnachtsbaum"
    ),
    "öffnung": "das garagentor, die haustür, die hintertür, das fenster, die jalousien, die vorhänge, die rollläden",
    "schloss": "die haustür, die hintertür, das garagentor, die kellertür, das große tor",
    "farbe": "rot, blau, grün, orange, lila, gelb, rosa, weiß, warmweiß, türkis",
    "stunde": "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12",
    "minute": "-, -, 10, 15, 20, 25, 30, 30, 40, 45, 50",
    "teil": "-, -, morgens, abends, heute nachmittag, heute nacht",
    "klein": "2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 45",
    "dauer": "{klein} minuten, {klein} minuten, {klein} sekunden, eine stunde, {klein} stunden, eine halbe stunde",
    "prozent": "10, 20, 30, 35, 40, 50, 60, 70, 75, 80, 90, 100",
    "wärme": "17, 18, 19, 20, 21, 22, 23, 24, 20,5, 21,5",
    "tag": "montag, dienstag, mittwoch, donnerstag, freitag, samstag, sonntag",
    "wann": "heute, morgen, heute abend, am {tag}, am wochenende, nächste woche, nächsten {tag}, übermorgen",
    "musik": (
        "jazz, rock, pop, blues, soul, schlager, klassische musik, tanzmusik, klaviermusik, weihnachtslieder, "
        "meine lieblingslieder, die nachrichten, das neue album, die nächste folge, regengeräusche, volksmusik"
    ),
    "essen": (
        "milch, brot, eier, butter, käse, äpfel, bananen, kaffee, tee, zucker, reis, hähnchen, tomaten, zwiebeln, "
        "kartoffeln, nudeln, honig, möhren, schokolade, seife, batterien, küchenpapier, orangensaft, hundefutter, "
        "katzenfutter, glühbirnen, süßigkeiten, brötchen"
    ),
    "person": (
        "mama, papa, oma, anna, peter, jürgen, maria, susanne, michael, meinen bruder, meine schwester, den arzt, "
        "die schule, das büro, die nachbarn"
    ),
    "aufgabe": (
        "den müll zu leeren, die blumen zu gießen, die katze zu füttern, {person} anzurufen, die miete zu zahlen, "
        "die kinder abzuholen, meine medizin zu nehmen, blumen zu kaufen, die straße zu fegen, die post zu holen, "
        "einen tisch zu reservieren, {essen} zu kaufen, das auto zu laden, pizza zu bestellen, das auto zu waschen"
    ),
    "stadt": "berlin, münchen, köln, hamburg, düsseldorf, wien, zürich, gießen",
    "szene": "kino, abendessen, party, lesen, urlaub, morgen, gäste, putzen",
    "bitte": "-, -, -, bitte, kannst du bitte, könntest du",
    "ende": "-, -, -, -, bitte, jetzt, für mich, sofort, noch einmal",
    "einaus": "ein, aus, an",
    "lauter": "lauter, leiser",
    "wärmer": "wärmer, kühler, höher, niedriger",
}
"""Fillers of each slot, as in `synthetic_text`; numbers are spelt by num2words, a decimal comma included."""

TEMPLATES_DE: tuple[str, ...] = (
    "schalte {licht} {raum} {einaus} {ende}",
    "schalte {bitte} {gerät} {raum} {einaus}",
    "mach {licht} {raum} {einaus} {ende}",
    "mach {bitte} {gerät} {einaus} {ende}",
    "dimme {licht} {raum} auf {prozent} prozent",
    "stell die helligkeit {raum} auf {prozent} prozent {ende}",
    "mach {licht} {raum} {farbe} {ende}",
    "ändere die farbe {raum} zu {farbe}",
    "stell den wecker auf {stunde} uhr {minute} {teil}",
    "weck mich {wann} um {stunde} uhr {minute}",
    "lösche den wecker um {stunde} uhr {minute} {teil}",
    "stell einen timer auf {dauer} {ende}",
    "starte einen timer für {essen} auf {dauer}",
    "wie lange läuft der timer für {essen} noch",
    "verlängere den timer um {dauer}",
    "spiel {musik} {raum} {ende}",
    "spiel {bitte} {musik}",
    "stopp die musik {raum} {ende}",
    "überspring dieses lied {ende}",
    "stell die lautstärke auf {prozent} prozent",
    "mach die musik {raum} {lauter} {ende}",
    "stell die temperatur {raum} auf {wärme} grad",
    "mach es {raum} um {klein} grad {wärmer}",
    "wie warm ist es {raum}",
    "wie warm wird es {wann} in {stadt}",
    "wie wird das wetter {wann} in {stadt}",
    "regnet es {wann} in {stadt}",
    "brauche ich {wann} einen regenschirm",
    "öffne {öffnung} {raum} {ende}",
    "schließ {öffnung} {ende}",
    "schließ {schloss} ab {ende}",
    "prüfe ob {schloss} abgeschlossen ist",
    "öffne {schloss} für {person}",
    "habe ich {gerät} angelassen",
    "zeig mir die kamera {raum} {ende}",
    "erinnere mich {wann} daran {aufgabe}",
    "erinnere mich um {stunde} uhr {minute} daran {aufgabe}",
    "setz {essen} und {essen} auf die einkaufsliste",
    "schreib {klein} {essen} auf meine einkaufsliste",
    "steht {essen} auf der einkaufsliste",
    "streich {essen} von der liste {ende}",
    "ruf {bitte} {person} an",
    "schick eine nachricht an {person} dass ich {wann} später komme",
    "sag {person} dass es um {stunde} uhr {minute} essen gibt",
    "was steht {wann} in meinem kalender",
    "starte den modus {szene} {raum} {ende}",
    "aktiviere um {stunde} uhr {minute} den modus {szene}",
    "schick den staubsauger {wann} los",
    "schalte {raum} in {dauer} alles aus",
    "heißt die nächste straße hauptstraße",
)
"""The sentences, with slots in braces."""
