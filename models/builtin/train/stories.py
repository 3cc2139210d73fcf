"""A small grammar that writes short English stories.

The built-in model needs text whose origin is beyond doubt, so the project writes its own. A story
is one plot template with its blanks filled in. The template language has two constructs:

    [a|b|c]   one of the alternatives, at random; brackets nest, an alternative may be empty
    {key}     a value fixed for the whole story (who, what, where); {^key} is the same, capitalised

Everything that has to agree across sentences (names, pronouns, the object the plot turns on) is a
{key}; everything that may vary freely is a [choice]. `story(rng)` is a pure function of the state
of `rng`, so a seed fixes the whole corpus.

    python stories.py [SEED [COUNT]]        prints a few stories
"""

import random
import re
import sys

BOYS = "Tom Ben Sam Max Leo Jack Tim Peter Finn Adam Noah Henry Omar David Simon Paul".split()
GIRLS = "Anna Lily Mia Lucy Emma Sara Rosa Nora Zoe Ella Maria Ruby Clara Alice Lena Jane".split()
PETS_M = "Rusty Pip Dusty Benny Toby Milo Oscar Pepper Bruno".split()
PETS_F = "Willow Hazel Poppy Daisy Luna Bella Coco Rosie Penny".split()

# Where each kind of animal lives; the plot stays near that home.
FOREST = ["[in|at the edge of] [a|the] [deep|green|quiet|big] forest", "under [a|an] [old|tall] oak tree",
          "in a small [den|house] in the [woods|forest]", "at the foot of a [green|high] hill"]
WATER = ["by a [blue|quiet|small] pond", "near a [clear|wide|cold] river", "beside a [big|blue] lake"]
FARM = ["on a [small|big|busy] farm", "in a [red|warm|old] barn", "near a little village"]
HOMES = {k: FOREST for k in "fox rabbit bear mouse squirrel owl deer bird".split()}
HOMES |= {k: WATER for k in "duck frog turtle swan goose".split()}
HOMES |= {k: FARM for k in "cat dog pig goat lamb kitten puppy pony".split()}
KIDS_HOME = ["in a [small|little|quiet] [village|town]", "in a [little|white|small] house near the [sea|river|forest]",
             "on a farm [near the hills|by the river|]", "[at the end of a long road|near a big forest|by the sea]"]

KIND_ADJ = "[little|young|small|brave|clever|kind|shy|curious|cheerful|gentle|lonely|happy|lazy|friendly]"
DAY = ("[one day|one [sunny|cold|warm|quiet|bright|windy|rainy] [morning|afternoon|day]|one evening"
       "|early one morning|one [spring|summer|autumn|winter] day]")
HAPPY = "[happy|glad|very happy|full of joy|so happy]"
SAD = "[sad|worried|upset|very sad|unhappy]"
END_FRIENDS = ("[from that day on, {X} and {Y} were [best|good|great] friends|after that day, {X} and {Y} played together [every day|all the time]"
               "|{X} and {Y} [went home together|walked home] and they were both very happy|they stayed friends [forever|for the rest of their lives]].")
END_DAY = ("[that night, {X} [slept very well|fell asleep with a smile|had sweet dreams]|{X} [had never been so happy|was [happy|tired but happy]"
           " for the rest of the day]|it was the best day of {his} life|{he} [never forgot that day|always remembered that day]].")
END_HOME = "[{X} [went|walked] home with a [big smile|happy heart|light heart].|{end_day}]"


def plot(who, text, **lets):
    """who: "a" animals, "k" children, "ak" both. A let is a list of choices or of tuples of them."""
    return who, " ".join(text.split()), lets


PLOTS = [
    # something is lost and found again
    plot("ak", """{day}, {X} could not find {his} {item}. {He} looked [under the bed|behind the door|in every
        room|near the old tree] and [in the garden|by the gate|along the path], but it was [not
        there|gone|nowhere to be seen]. {X} [felt|was] {sad}. [Then|Soon|After a while] {he} met {Yintro}. "Have
        you seen my {item}?" asked {X}. "No, but I will help you," said {Y}. They [looked and looked|searched
        for a long time|looked everywhere]. At last, {Y} [found|saw] the {item} {where}. ["Here it is!" {yhe}
        [cried|shouted].|"Look, there it is!" said {Y}.] {^X} was {happy} and [thanked {yhim}|gave {yhim} a
        [big|warm] hug|said thank you]. {end_friends}""",
         item=["red ball", "blue hat", "warm scarf", "toy boat", "little drum", "yellow kite", "silver bell",
               "green bag", "favorite book", "wooden spoon"],
         where=["under [a bush|a pile of leaves|an old bench]", "behind [a big rock|the barn|a tree]",
                "in the [tall|long] grass", "inside an old basket"]),
    # the market, and a good deed on the way
    plot("k", """{day0} {X} went to the market [with {his} {mom}|to buy {food}|to buy {food} for {his}
        {mom}|with a small basket]. [{He} had one coin in {his} pocket.|The market was full of [people|good
        smells].||] {He} bought {food}. On the way home, {he} [met|saw] a {stranger} who [looked|was] [very|so]
        [hungry|tired and hungry]. ["[Please|Good day], do you have something to eat?" asked the {stranger}.|]
        {^X} [felt sorry for|wanted to help] the {stranger}, so {he} [shared the|gave away some of the] {food}.
        The {stranger} [smiled|was very happy] and gave {him} {gift}. "[This is for your kind heart|You are a
        good child|Thank you, dear child]," said the {stranger}. {X} [ran|hurried] home and told {his} {mom}.
        [{X} was [happy|proud].|"I am proud of you," said {his} {mom}.] [{end_day}|]""",
         food=["[fresh|warm] bread", "[red|sweet] apples", "[soft|fresh] cheese", "[ripe|sweet] plums",
               "[small|sweet] cakes", "[ripe|yellow] pears"],
         stranger=["old man", "old woman", "poor man", "young beggar", "lost traveler"],
         gift=["a [small|shiny] gold coin", "a magic seed", "a little silver key", "a wooden flute",
               "a beautiful flower", "a lucky stone"]),
    # the market, a lost purse, honesty
    plot("k", """{day0} {X} went to the market [with {his} {mom}|with {his} friend {Yn}|to look at the
        [toys|flowers|animals]]. {He} saw [a man selling [toys|hats]|a woman selling [flowers|honey]|many people
        and many shops]. {X} wanted to buy {toy}, but {he} had no money. Then {he} found a [small|brown|heavy]
        purse [on the ground|under a table]. It was full of coins. ["Now I can buy {toy}," {he} thought.|] But
        then {he} saw an old woman who was crying. "I have lost my purse," she said. {X} [felt bad and|] gave it
        back to her. ["You are [a good|an honest] child," she said.|] She was so happy that she bought {toy} for
        {him}. [{X} [learned|knew] that it is good to be honest.|{end_day}]""",
         toy=["a [red|blue] kite", "a wooden horse", "a [little|small] drum", "a toy boat", "a [new|green] hat",
              "a [white|soft] doll"]),
    # a storm
    plot("ak", """{day}, {X} was playing [{place}|alone {place}]. Suddenly, the sky [turned|grew] dark and [the
        wind began to blow|a big storm came|it began to rain]. [{X} was [scared|afraid|wet and cold] and began
        to run.|] [Just then|Then] {he} [saw|heard] {Yintro}. "[Come with me|Come inside|Quick, follow me]!"
        called {Y}. "My house is [warm and dry|not far away]." They [sat|sat down] by the fire and [ate hot
        soup|drank warm milk|told each other stories|sang songs] until the [storm|rain] was over. When they
        [went|came] outside, [there was|they saw] a [beautiful|bright|big] rainbow in the sky. "[Thank you for
        helping me|You are a good friend]," said {X}. {end_friends}"""),
    # a fear is overcome
    plot("ak", """[{X} was afraid of {fear}.|There was one thing that {X} feared. {He} was afraid of {fear}.]
        [Every day|Often], the others [laughed at {him}|asked {him} to be brave], and this made {him} {sad}.
        {day}, {he} heard a [small|quiet|weak] cry. {It_was} {Yintro} {trouble}. "Help me, please!" cried {Y}.
        {^X} was [scared|very afraid], but {he} [wanted to help|could not leave {yhim} there|knew {he} had to
        help]. {He} took a deep breath and {brave}. [Soon|In the end] {Y} was safe. "You are [so|very] brave,"
        said {Y}. {X} smiled. {He} was not afraid of {fear} [anymore|any longer]. [{end_friends}|]""",
         **{"fear,trouble,brave": [
             ("the dark", "lost in a dark cave", "walked into the cave"),
             ("deep water", "in the deep river", "jumped into the water"),
             ("high places", "high up in a tall tree", "climbed up the tree"),
             ("the dark", "alone in the dark forest", "went into the dark forest"),
             ("bridges", "stuck on an old bridge", "walked out on the bridge"),
             ("thunder", "lost in the storm", "ran out into the storm")]}),
    # build something, fail, try again
    plot("ak", """{day}, {X} wanted to [build|make] {thing}. {He} [worked hard|worked all day|worked until
        evening] with [some wood and rope|a few old sticks|paper and string]. But [the first time|when it was
        done], {fail}. {X} [felt|was] {sad}. "I can not do it," {he} said. {Yintro} [saw this and sat down next
        to {him}|came by and looked at it]. "[Do not give up|You can try again]," said {Y}. "[I will help
        you|Let us do it together]." They [worked together|tried again and again|started again], and [this
        time|in the end] {works}. {X} [jumped for joy|laughed and clapped|was [{happy}|proud]]. [{He} learned
        that it is good to try again.|"We did it!" {he} [cried|shouted].] [{end_friends}|]""",
         **{"thing,fail,works": [
             ("a [big|red|little] kite", "the kite fell to the ground", "the kite flew high in the sky"),
             ("a [small|little|wooden] boat", "the boat sank in the water", "the boat sailed across the water"),
             ("a [small|tree|little] house", "the house fell down",
             "the house was [strong and beautiful|tall and strong]"),
             ("a bridge over the stream", "the bridge broke in two", "the bridge was strong"),
             ("a [warm|soft|new] bed", "the bed broke", "the bed was soft and strong")]}),
    # sharing food
    plot("ak", """{day}, {X} found {food} {place}. "[This is all mine|I will eat it all by myself]," {he}
        [thought|said]. {He} [sat down|was just about] to eat when {Yintro} came [along|by]. {Y} looked [sad and
        hungry|very hungry|thin and tired]. ["I have not eaten [all day|since yesterday]," said {Y}.|] {X}
        [looked at|thought about] the food [for a [moment|while]|and then at {Y}]. {He} [felt sorry for
        {yhim}|wanted to be kind]. "[Come and eat with me|Let us share it]," {he} said. They [sat|ate] together
        [under a tree|in the sun|on the soft grass], and the food tasted [better than ever|very good|wonderful].
        [{X} learned that sharing makes everyone happy.|"Sharing is better than eating alone," said {X}.]
        {end_friends}""",
         food=["a big [red|sweet] apple", "a basket of [berries|nuts|plums]", "a [round|sweet] cake",
               "a pot of honey", "a [warm|fresh] pie", "a [large|ripe] melon"]),
    # a rescue that is repaid
    plot("ak", """{day}, {X} was walking {place} when {he} heard a [small|weak|tiny] voice. "Help!" said the
        voice. It was a {small} that was [stuck|caught|trapped] {trap}. ["Please help me, and one day I will
        help you," it said.|] {X} [laughed, but {he}|smiled and] [helped the {small}|set the {small} free]. [A
        few days|A week|Some days] later, {X} {danger}. The {small} [heard {him}|remembered {him}] and {rescue}.
        ["You were kind to me," said the {small}.|"Even a small friend can help," said the {small}.] {X}
        [thanked the {small}|was very thankful]. [From that day on, they were [best|good] friends.|{end_day}]""",
         trap=["in a net", "under a [heavy|big] branch", "under a [heavy|big] stone", "in the mud"],
         **{"small,danger,rescue": [
             ("mouse", "was caught in a rope", "cut the rope with its teeth"),
             ("bird", "was lost in the [forest|hills]", "flew ahead to show the way home"),
             ("bee", "lost {his} way in the fog", "showed {him} the way home"),
             ("firefly", "was lost in the dark", "made a bright light to show the way"),
             ("bird", "lost {his} key", "found the key in the grass"),
             ("ant", "dropped a ring in the grass", "found the ring under a leaf")]}),
    # something is broken, the truth is told
    plot("k", """{day}, {X} was playing [with a ball|with {his} friend {Yn}] in the [house|kitchen]. [By
        accident|Suddenly], {he} [broke|hit and broke] {thing}. {X} was [scared|afraid] and hid the pieces
        [under the bed|behind the door|in a box]. [In the evening|Later|Soon], {his} {mom} asked, "Where is
        {the_thing}?" {^X} [said nothing|looked at the floor|said that {he} did not know]. But {he} felt
        [bad|very bad|sad]. [At last|In the end|After dinner], {he} told the truth. "I broke it, and I am
        [very|so] sorry," {he} said. {His} {mom} [hugged {him}|was not angry|smiled]. "[Thank you for telling me
        the truth|I am glad that you told me]," {mhe} said. [They fixed it together with glue.|Then they made a
        new one together.|"We can fix it together."] [{X} felt [much better|happy again].|{end_day}]""",
         **{"thing,the_thing": [("a [blue|white] cup", "my cup"), ("the [old|big] vase", "the vase"),
                                ("a [green|blue] plate", "the plate"),
                                ("the little clock", "the clock"), ("the [old|round] lamp", "the lamp")]}),
    # a birthday surprise
    plot("ak", """It was {X_s} birthday. {He} woke up early and [ran outside|waited for {his} friends], but
        nobody [was there|came|said a word]. "[They all forgot my birthday|Nobody remembered my birthday]," {he}
        thought, and {he} felt {sad}. {He} went for a walk {place}. [In the evening|When it got dark|After a
        while], {Yintro} came [to {him}|by]. "[Come with me|Follow me], I want to show you something," said {Y}.
        When they came [home|back], {all} were there. "Surprise!" they [shouted|cried]. There was a
        [big|sweet|round] cake with [berries|honey|candles] and [a present|many presents]. {X} got {gift}. [{He}
        [laughed|danced] with joy.|{end_day}]""",
         all=["all {his} friends", "all the others"], gift=["a [new|red] ball", "a [warm|blue] scarf",
              "a [little|small] drum", "a [yellow|red] kite", "a toy boat"]),
    # a seed and some patience
    plot("ak", """{day}, {X} found a [small|tiny|strange] seed {place}. {He} planted it in the [garden|ground]
        and gave it water every [day|morning]. [One week passed|Many days passed], but nothing [happened|grew].
        ["It will never grow," {X} said.|] {Yintro} [came to look|saw that {he} was sad]. "[Good things take
        time|You must wait a little longer]," said {Y}. [So {X} waited.|] Then, {day}, {he} saw a [little|tiny]
        green leaf. It grew [and grew|] until it was {plant}. {X} was {happy}. {He} {gave}. [{He} learned to be
        patient.|"You were right," {he} said to {Y}.|{end_day}]""",
         **{"plant,gave": [("a [tall|beautiful|yellow] flower", "showed it to all {his} friends"),
                           ("a [big|huge|round] pumpkin", "shared it with all {his} friends"),
                           ("a [young|strong] apple tree", "showed the tree to everyone"),
                           ("a [red|beautiful] rose", "gave the rose to {his} {mom}")]}),
    # lost in the woods
    plot("ak", """{day}, {X} went [for a walk|to pick [berries|flowers]|to look for mushrooms] in the
        [forest|woods]. {He} walked too far, and [soon|] {he} did not know the way home. {X} [sat down and began
        to cry|sat under a tree and felt very lonely]. "Why are you [crying|so sad], {Xv}?" asked a
        [kind|soft|deep] voice. It was {helper}. "I am lost," said {X}. "[Do not worry|Do not be afraid]," said
        {helper2}. "Follow the {guide}." {X} followed {what} [until {he} saw|and at last {he} saw] the
        [light|lights] of {his} home. {His} {mom} [ran out and hugged {him}|was waiting at the door]. [{X}
        promised to be more careful.|{end_day}|]""",
         **{"helper,helper2": [("[an|a wise] old owl", "the owl"), ("[a|an] [gentle|old] deer", "the deer"),
                               ("a [small|little] firefly", "the firefly"), ("an old woman", "the old woman")],
            "guide,what": [("stream", "the stream"), ("path by the river", "the path"),
                           ("bright star", "the star"), ("white stones", "the white stones")]}),
    # pride and a race
    plot("a", """{X} [could run very fast and was|was very fast and] [very|too] proud of it. "[Nobody is as fast
        as I am|I am the fastest of all]," {he} said. {day}, {Yintro} said, "[Let us have a race|I will race
        you] to the [old mill|big tree|river]." {^X} laughed, because {Y} was [very|so] slow. {X} was soon far
        ahead, so {he} [lay down to sleep|stopped to eat|sat down to rest] [under a tree|in the grass]. But {Y}
        [walked on, step by step|did not stop]. When {X} [woke up|looked up], {Y} was [already there|at the end
        of the race]. "[Slow and steady wins|You should not be so proud]," said {Y}. {X} [felt sorry|said sorry]
        and never laughed at others again."""),
    # cannot sleep
    plot("ak", """It was late [at night|in the evening], but {X} could not sleep. {He} [looked at|watched] the
        [moon|stars] and [listened to the wind|thought about the day]. ["I am not tired," {he} said.|"Why can I
        not sleep?" {he} asked.] {His} {mom} came [in|to {his} bed] and [sat down next to {him}|brought a cup of
        warm milk]. "{offer}," {mhe} said. It was a {tale} about {about}. {X} listened [with big eyes|quietly],
        and [slowly|soon] {his} eyes [closed|began to close]. "Good night, {Xv}," {his} {mom} [whispered|said
        softly]. {X} dreamed [of|about] {about} and slept until the [sun came up|morning].""",
         about=["a [ship|boat] on the [wide|blue] sea", "a [star|little star] that fell from the sky",
                "a [king|queen] in a [high|golden] castle", "a [big|friendly] dragon", "a [white|flying] horse",
                "a garden full of flowers"],
         **{"offer,tale": [("[I will|Let me] tell you a story", "story"),
                           ("[I will|Let me] sing you a song", "song")]}),
    # a shy newcomer
    plot("ak", """{X} was new in {town} and had no friends. {He} [sat|stood] alone {place} and watched the
        others play. {He} was too shy to [speak|talk to them|say hello]. {day}, {Yintro2} [came|walked] up to
        {him}. "[Hello|Hi], [my name is|I am] {Yn}," {yhe} said. "Do you want to [play|play with us]?" {^X}
        [looked at the ground|was quiet for a moment], but then {he} [nodded|smiled|said yes]. They [played with
        a ball|ran and jumped|played games|built a little house] [all day|until the sun went down|until it got
        dark]. {X} was not [lonely|shy] anymore. ["[Can we play again|Will you come again] tomorrow?" asked {Y}.
        "Yes!" said {X}.|{end_friends}]""",
         town=["the [village|town]", "the valley"]),
    # a magic fish
    plot("k", """{day}, {X} went [to the river|to the lake|down to the sea] to catch some fish. {He} waited [for
        a long time|for hours|all morning]. [At last|Then] {he} caught a {color} fish. To {his} surprise, the
        fish [began to speak|could talk]. "Let me go, and I will give you one wish," said the fish. {^X} could
        [wish|ask] for [gold|a castle|a crown], but {he} thought of {his} {mom}, who was [sick|ill]. "I wish
        that my {mom} is well again," {he} said. The fish [smiled|nodded] and swam away. When {X} came home,
        {his} {mom} was [standing at the door|making dinner|up and well]. [They were both so happy that they
        [danced|cried|laughed].|{X} hugged {mhim} and laughed.|{end_day}]""",
         color=["[small|big] golden", "little silver", "[big|bright] red", "strange blue"]),
    # baking goes wrong and right
    plot("ak", """{day}, {X} wanted to bake {cake} for {his} {mom}. {He} took [flour, eggs and milk|some flour
        and honey|milk, butter and eggs] and [mixed everything in a big bowl|put everything in a bowl]. But {he}
        [dropped the bowl|was not careful], and [the flour|everything] [went|fell] all over the floor. "Oh no!"
        cried {X}. {Yintro} heard {him} and came [in|to help]. "[Do not be sad|I will help you]," said {Y}. They
        [cleaned|washed] the floor and baked a new one. [It smelled [wonderful|so good|sweet].|] {His} {mom}
        [took a bite|tasted it] and smiled. "This is the best [cake|food] I have ever [had|eaten]," {mhe} said.
        {X} [and {Y} were|was] very proud.""",
         cake=["a [big|sweet|round] cake", "an apple cake", "a [honey|sweet] cake", "a [cherry|berry] cake"]),
    # a sick friend
    plot("ak", """{X_s} friend {Yshort} was [sick|ill] and had to stay in bed. When {X} heard this, {he}
        [was|felt] {sad}. "[What can I do|How can I help]?" {he} [thought|asked {his} {mom}]. {^X} [made some
        hot soup|picked some flowers|made some tea with honey|drew a picture] and [went|walked] to {Y_s} house.
        [It was cold outside, but {X} did not stop.|It was raining, but {X} did not mind.|] ["[Hello|Good
        morning], {Yn}," said {X}.|] {^Y} was [very happy|so glad] to see {him}. {X} [stayed all day|came every
        day] and [told funny stories|read a book to {yhim}|sang songs]. [Soon|After a few days], {Y} [was|felt]
        [well|strong] again. "You are the best friend [in the world|of all]," {yhe} said. [Then they went
        outside to play.|{end_home}|]"""),
    # a strange noise
    plot("ak", """[One night|Late one night|One dark night], {X} heard a strange [noise|sound]. It came from
        [outside the window|behind the house|the old barn|the roof]. "[What is that|Who is there]?" {he}
        [whispered|asked]. {^X} was [scared|afraid]. But {he} wanted to know what it was. {He} took a
        [light|lamp|candle] and [went|walked] outside [slowly|very quietly]. There, in the [dark|grass|rain],
        sat {found}. It was [cold|wet] and [hungry|all alone]. ["Do not be afraid," said {X}.|] {He} [took it
        inside|carried it home] and gave it [a warm blanket|some milk|some food]. {X} laughed, because {he} had
        been afraid of {such}. [From then on, they lived together.|{end_day}]""",
         **{"found,such": [("a [tiny|little|gray|white] kitten", "a little kitten"),
                           ("a [tiny|little|brown|wet] puppy", "a little puppy"),
                           ("a [tiny|young|little] bird", "a little bird"),
                           ("a [tiny|small|young] rabbit", "such a small rabbit")]}),
    # a treasure map
    plot("ak", """{day}, {X} found an old map [in a bottle|in a box|under a stone|inside a book]. [There was a
        red cross on it.|It showed the way to a treasure.] {He} [ran to|showed it to] {Yfriend}. "[Let us find
        the treasure|We must go there]!" said {X}. They walked [over the hill|across the bridge|along the river]
        and [through the forest|past the old mill|through a dark cave]. [It was a long way, and they were
        tired.|] [At last|In the end], they [came to the place|found the place] and began to dig. They found a
        [small|big|wooden] box. Inside there was no gold, but {inside}. {Y} [laughed|was surprised]. "[The best
        treasure|The real treasure] is [the day we had together|a good friend]," said {X}. [{end_friends}|]""",
         inside=["a [letter|note] with a poem", "a picture of two friends",
                 "[many|a hundred] shiny [shells|stones]", "a bag of old toys"]),
    # winter stores
    plot("a", """It was [autumn|a warm autumn], and {X} [gathered|collected] [nuts|seeds|berries|food] for the
        winter every day. {Yintro} [laughed at {him}|only played and sang]. "Come and play," said {Y}. "[Winter
        is coming|Soon it will be cold]," said {X}. But {Y} did not listen. [Soon|Then] the [snow fell|winter
        came], and {Y} was [cold and hungry|very hungry]. {^Yhe} [knocked on {X_s} door|came to {X_s} home].
        "[Please help me|I was foolish]," said {Y}. {X} was [kind|not angry]. "[Come in|Come in and eat]," {he}
        said. "[But next year, we will work together|Next year you must help me]." {Y} promised, and {yhe} [kept
        {yhis} word|never forgot it]."""),
    # a kite, a tree, a quarrel ended
    plot("ak", """{X} and {Yfull} both wanted {item}. "[It is mine|I saw it first]!" said {X}. "No, it is mine!"
        [said|shouted] {Y}. They pulled and pulled until {broke}. [Now|Then] [they were both sad|nobody could
        play with it]. [The next day|In the morning], {X} felt [sorry|bad]. {He} [went|walked] to {Y} and said,
        "I am sorry. [You are more important than a toy.|I do not want to fight.]" "I am sorry too," said {Y}.
        They [fixed it together|worked together to fix it], and then they [took turns|shared it]. [They [learned
        that it is better to share than to fight|never fought about toys again].|{end_friends}]""",
         **{"item,broke": [("the same [red|blue] kite", "the kite tore in two"),
                           ("the same [little|old] boat", "the boat broke"),
                           ("the same [big|red] drum", "the drum broke"),
                           ("the same wooden [car|horse]", "the toy broke")]}),
    # a day out
    plot("k", """{day0} {X} went to {out} with {his} {mom}. {did} [Then|After that] {he} [saw|met] {Yintro2},
        who was [sitting alone|looking sad]. "[What is wrong|Why are you sad]?" asked {X}. "{why}," said {Y}.
        {X} [had an idea|thought for a moment]. "[We can share|You can have] {mine}," {he} said. {^Y}
        [smiled|began to smile] at once. They [played|laughed and played] together until it was time to go home.
        "You [were very kind|have a good heart]," said {his} {mom} on the way home. {end_day}""",
         **{"out,did,why,mine": [
             ("the [beach|sea]",
             "{He} built a [big|tall] castle of sand [and swam in the water|and found many shells].",
             "The sea took my bucket", "my bucket"),
             ("the park", "{He} [played on the swing|fed the ducks|climbed a tree].", "I lost my kite",
             "my kite"),
             ("the river", "{He} [threw stones into the water|saw many little fish].",
             "My boat fell into the water", "my boat"),
             ("the [library|school]", "{He} [found a book about [ships|horses]|read a long story].",
             "I have no book to read", "my book"),
             ("the farm", "{He} [fed the hens|rode on a pony|saw a little lamb].", "I dropped my bread",
             "my bread"),
             ("the farm", "{He} [climbed on the hay|rode on a pony|watched the pigs].", "I dropped my apple",
             "my apple")]}),
]

PLACES = ["in the [garden|meadow|forest|field]", "by the [river|pond|lake|stream]", "near the [old mill|bridge|hill|big tree]", "on the [hill|path]"]


# Keys whose choices are made anew at every mention.
FREE = {"day": DAY, "sad": SAD, "happy": HAPPY, "end_friends": END_FRIENDS, "end_day": END_DAY, "end_home": END_HOME}


def expand(text, keys, rng):
    """Fills in one template: {keys} first (they may hold choices), then [choices], innermost first."""
    while True:
        new = re.sub(r"\{(\^?)(\w+)\}", lambda m: fill(m[1], keys[m[2]]), text)
        new = re.sub(r"\[([^\[\]]*)\]", lambda m: rng.choice(m[1].split("|")), new)
        if new == text:
            return text
        text = new


def fill(caret, value):
    return value[0].upper() + value[1:] if caret else value


def person(rng, animal, female, taken=None):
    """A character: (kind, name or None, female)."""
    if not animal:
        return ("girl" if female else "boy"), rng.choice([n for n in (GIRLS if female else BOYS) if n != taken]), female
    name = rng.choice(PETS_F if female else PETS_M) if rng.random() < 0.65 else None
    return rng.choice([k for k in HOMES if k != taken]), name, female


def pronouns(prefix, female):
    he, him, his = ("she", "her", "her") if female else ("he", "him", "his")
    return {prefix + "he": he, prefix + "him": him, prefix + "his": his}


def tidy(text):
    """Spacing, a/an, and a capital letter at the start of every sentence."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"[\s,]+([.,!?])", r"\1", text)
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    text = re.sub(r"\b([Aa])n (?!honest)(?=[^aeiou\W])", r"\1 ", text)
    # A quotation that ends in ? or ! is followed by its speaker ("..." said X), so no capital there.
    return re.sub(r'(^|[.!?] "?|\." "?|[?!]" ")([a-z])', lambda m: m[1] + m[2].upper(), text)


def write(rng, text, lets, animal, opening):
    """One draft of the plot `text`, or "" if the cast does not suit it.

    The keys: X is the hero, Y the friend, mom the parent; he/him/his, yhe/..., mhe/... are their
    pronouns. A capital (He, His) only marks the start of a sentence, where tidy() puts the capital.
    """
    kind, name, female = person(rng, animal, rng.random() < 0.5)
    # Mostly of the other sex, so that "he" and "she" say who is meant.
    ykind, yname, yfemale = person(rng, animal, female ^ (rng.random() < 0.8), kind if animal else name)
    mom = rng.choice(["mother", "father"] if animal else ["mother", "father", "grandmother", "grandfather"])

    keys = {"X": name or f"the {kind}", "Xv": name or f"little {kind}", "Y": yname or f"the {ykind}",
            "Yn": yname or ykind, "mom": mom, "place": rng.choice(PLACES), "It_was": "it was",
            "They": "they"}
    keys |= pronouns("", female) | pronouns("y", yfemale) | pronouns("m", mom.endswith("mother"))
    keys |= {"He": keys["he"], "His": keys["his"], "Yhe": keys["yhe"]}
    if animal:
        keys["Yintro"] = (f"a [little|young|small|friendly|kind|] {ykind} [named|called] {yname}" if yname
                          else f"a [little|young|small|friendly|kind|shy] {ykind}")
        keys["Yintro2"] = keys["Yintro"]
        keys["Yfriend"] = f"{{his}} friend {yname}, [the|a] {ykind}," if yname else f"{{his}} friend, the {ykind},"
        keys["Yshort"] = keys["Yfull"] = f"{yname} the {ykind}" if yname else f"the {ykind}"
        if not yname:  # an unnamed animal does not say "my name is rabbit"
            text = text.replace("[my name is|I am] {Yn}", "I am the {Yn}").replace("{Yn},\" said", "dear {Yn},\" said")
    else:
        keys["Yintro"] = f"[{{his}} friend {yname}|a {ykind} named {yname}|{yname}]"
        keys["Yintro2"] = f"a {ykind} named {yname}"
        keys["Yfriend"], keys["Yshort"] = f"{{his}} friend {yname}", yname
        keys["Yfull"] = f"{{his}} [brother|friend] {yname}" if not yfemale else f"{{his}} [sister|friend] {yname}"
    keys["X_s"], keys["Y_s"] = keys["X"] + "'s", keys["Y"] + "'s"
    for names, choices in lets.items():
        names, pick = names.split(","), rng.choice(choices)
        keys |= zip(names, [pick] if len(names) == 1 else pick)
    if any(word == kind for key in ("small", "found", "helper") for word in keys.get(key, "").split()):
        return ""  # an owl does not ask the owl, a kitten does not find a kitten
    # Choices inside a key are settled once, so that every mention of it agrees.
    for key in keys:
        keys[key] = expand(keys[key], keys | FREE, rng)
    keys |= FREE

    home = rng.choice(HOMES[kind] if animal else KIDS_HOME)
    hero = f"a {KIND_ADJ} {kind} [named|called] {name}" if name else f"a {KIND_ADJ} {kind}"
    intros = [f"Once upon a time[,|] there [was|lived] {hero}. [|{{He}} lived {home}.]",
              f"Once upon a time[,|] there was {hero} who lived {home}.",
              f"Once upon a time, {hero} lived {home}.",
              f"There was once {hero} [|who lived {home}].",
              f"{home} there lived {hero}.",
              f"[Long ago|Once], there [was|lived] {hero}."]
    if name:
        intros += [f"{name} was a {KIND_ADJ} {kind} [|who lived {home}].",
                   f"{name} the {kind} lived {home}." if animal else f"{name} lived with {{his}} {{mom}} {home}."]
    if opening == "name":  # the story starts at once, with a name if there is one
        text = text.replace("{day0} {X} went to", "{X} went to", 1)
        if text.startswith("{day}, {X} "):
            text = "{X} " + text[len("{day}, {X} "):]
    elif opening == "intro":
        if text.startswith("{X} ") and rng.random() < 0.6:
            text = "{He} " + text[len("{X} "):]
        text = rng.choice(intros[:3] + intros) + " " + text  # the best known opening is twice as likely
    text = text.replace("{day0} {X}", "{day}, {X}")
    return tidy(expand(text, keys, rng))


def story(rng):
    """One story of at most 126 words and marks: 90 to 176 tokens, nearly all below 150."""
    # These are kept while drafts are too long; otherwise the long plots and openings would be rare.
    who, text, lets = rng.choice(PLOTS)
    animal = rng.choice(who) == "a"
    opening = rng.choices(["intro", "name", "day"], [80, 5, 15] if animal else [50, 35, 15])[0]
    while True:
        draft = write(rng, text, lets, animal, opening)
        if 50 <= len(re.findall(r"\w+|[^\w\s]", draft)) <= 126:
            return draft


def corpus(seed, count):
    rng = random.Random(seed)
    return [story(rng) for _ in range(count)]


if __name__ == "__main__":
    args = [int(a) for a in sys.argv[1:]] + [0, 10][len(sys.argv) - 1:]
    for text in corpus(*args):
        print(text + "\n")
